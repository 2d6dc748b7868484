//! `dapr mtls`: the certificates of the authority, in a cluster or, which is an
//! addition, in the files of one that runs on this machine (cli.md §9,
//! docs/mtls.md).

mod cluster;
mod files;
mod material;
mod renew;
mod rollout;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use dapr_flags::{Command, Flag, FlagGroup, Matches};
use dapr_gocompat::time::date_string;

use super::{Handler, help_flag};
use crate::context::Context;
use crate::say::stdout;
use cluster::Cluster;
use material::Material;

/// Days before the end of the root at which commands begin to mention it.
const NOTICE_DAYS: i64 = 30;
const HOUR: u64 = 60 * 60;
const FILES: &str = "certs-dir";
const FILES_HELP: &str =
    "The directory with ca.crt, issuer.crt and issuer.key of a sentry on this machine, instead of a cluster";

const EXAMPLE: &str = "
# Is mTLS on in the cluster?
dapr mtls -k

# Do the certificates of a sentry on this machine fit together?
dapr mtls --certs-dir ./certs
";
const EXPORT_EXAMPLE: &str = "
# Copy the certificates of the cluster
dapr mtls export -o ./certs
";
const EXPIRY_EXAMPLE: &str = "
# When the root of the cluster ends
dapr mtls expiry

# When the root of a sentry on this machine ends
dapr mtls expiry --certs-dir ./certs
";

pub(super) fn command() -> Command<Handler> {
    Command::<Handler>::new(
        "mtls",
        "Check if mTLS is enabled. Supported platforms: Kubernetes and Self-hosted",
    )
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(Flag::bool("kubernetes", false, "Check if mTLS is enabled in a Kubernetes cluster").short('k'))
    .flag(Flag::string(FILES, "", FILES_HELP))
    .group(FlagGroup::Unless { required: "kubernetes", unless: FILES })
    .group(FlagGroup::Exclusive(vec!["kubernetes", FILES]))
    .run(check)
    .child(expiry_command())
    .child(export_command())
    .child(renew::command())
}

fn export_command() -> Command<Handler> {
    Command::<Handler>::new(
        "export",
        "Export the root CA, issuer cert and key from Kubernetes to local files",
    )
    .example(EXPORT_EXAMPLE)
    .flag(help_flag())
    .flag(Flag::string("out", ".", "The output directory path to save the certs").short('o'))
    .flag(Flag::string(FILES, "", FILES_HELP))
    .run(export)
}

fn expiry_command() -> Command<Handler> {
    Command::<Handler>::new("expiry", "Checks the expiry of the root certificate")
        .example(EXPIRY_EXAMPLE)
        .flag(help_flag())
        .flag(Flag::string(FILES, "", FILES_HELP))
        .run(expiry)
}

/// The folder that stands in for a cluster, if one was given.
fn folder(matches: &Matches) -> Option<PathBuf> {
    matches.changed(FILES).then(|| PathBuf::from(matches.string(FILES)))
}

/// What a cluster is called in what people read, and what a folder is.
fn place(folder: Option<&Path>) -> String {
    folder
        .map_or_else(|| "of your Kubernetes cluster".to_owned(), |folder| format!("in {}", folder.display()))
}

fn check(context: &Context, matches: &Matches) -> ExitCode {
    if let Some(folder) = folder(matches) {
        return files::check(context, &folder);
    }
    let found = context.block_on(async {
        let cluster = Cluster::of(context)?;
        let enabled = cluster.system().await?.mtls;
        Ok::<_, String>((enabled, cluster.material().await.ok()))
    });
    match found {
        Err(reason) => {
            context.say.failure(format!("error checking mTLS: {reason}"));
            ExitCode::FAILURE
        }
        Ok((enabled, material)) => {
            let status = if enabled { "enabled" } else { "disabled" };
            stdout(&format!("Mutual TLS is {status} in your Kubernetes cluster \n"));
            material.iter().for_each(|material| mention_expiry(context, material, None));
            ExitCode::SUCCESS
        }
    }
}

/// From the cluster, unless there is a folder.
async fn load(context: &Context, folder: Option<&Path>) -> Result<Material, String> {
    match folder {
        Some(folder) => files::read(folder),
        None => Cluster::of(context)?.material().await,
    }
}

fn export(context: &Context, matches: &Matches) -> ExitCode {
    let (from, to) = (folder(matches), PathBuf::from(matches.string("out")));
    let exported = context.block_on(load(context, from.as_deref())).and_then(|material| {
        std::fs::create_dir_all(&to).map_err(|e| format!("cannot create {}: {e}", to.display()))?;
        files::write(&to, &material)?;
        Ok(material)
    });
    match exported {
        Err(reason) => {
            context.say.failure(format!("error exporting trust chain certs: {reason}"));
            ExitCode::FAILURE
        }
        Ok(material) => {
            let to = std::fs::canonicalize(&to).unwrap_or(to);
            context.say.success(format!("Trust certs successfully exported to {}", to.display()));
            mention_expiry(context, &material, from.as_deref());
            ExitCode::SUCCESS
        }
    }
}

/// A failure ends with success (cli.md §1.2); with files, where nothing depends
/// on that, it does not.
fn expiry(context: &Context, matches: &Matches) -> ExitCode {
    let folder = folder(matches);
    let found = context.block_on(load(context, folder.as_deref())).and_then(|material| material.root_end());
    match found {
        Err(reason) => {
            context.say.failure(format!("error getting root cert expiry: {reason}"));
            if folder.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Ok(end) => {
            let hours = seconds_left(end, SystemTime::now()) / HOUR as i64;
            let date = date_string(end);
            stdout(&format!("Root certificate expires in {hours} hours. Expiry date: {date}"));
            ExitCode::SUCCESS
        }
    }
}

/// Negative after the end.
fn seconds_left(end: SystemTime, now: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    end.duration_since(now).map_or_else(|over| -whole(over.duration()), whole)
}

fn days_left(end: SystemTime, now: SystemTime) -> i64 {
    seconds_left(end, now) / (24 * HOUR as i64)
}

/// A warning when the root ends within a month; silence if that is unknown.
fn mention_expiry(context: &Context, material: &Material, folder: Option<&Path>) {
    let Ok(end) = material.root_end() else { return };
    if let Some(text) = expiry_warning(end, SystemTime::now(), &place(folder)) {
        context.say.warning(text);
    }
}

fn expiry_warning(end: SystemTime, now: SystemTime, place: &str) -> Option<String> {
    let days = days_left(end, now);
    if days >= NOTICE_DAYS {
        return None;
    }
    let what = match days {
        0 if end > now => "expires today".to_owned(),
        days if days > 0 => format!("expires in {days} days"),
        _ => "has expired".to_owned(),
    };
    Some(format!(
        "Dapr root certificate {place} {what}. Expiry date: {}. \n Please see docs.dapr.io for certificate \
         renewal instructions to avoid service interruptions.",
        rfc1123(end)
    ))
}

/// `Mon, 02 Jan 2006 15:04:05 UTC`.
fn rfc1123(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string())
        .unwrap_or_else(|_| "an unknown time".to_owned())
}
