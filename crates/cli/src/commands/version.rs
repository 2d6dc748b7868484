//! `dapr version` and `dapr build-info` (cli.md §7).

use std::io::Read;
use std::path::Path;
use std::process::{Command as Process, ExitCode, Stdio};
use std::time::{Duration, Instant};

use dapr_flags::{Command, Flag, Matches};
use dapr_gocompat::json::escape_str;

use super::{Handler, help_flag};
use crate::context::Context;
use crate::run::sidecar::RUNTIME_VERSION;
use crate::say::stdout;

/// `edge` unless the build names a release.
const CLI_VERSION: &str = match option_env!("DAPR_CLI_VERSION") {
    Some(version) => version,
    None => "edge",
};
const GIT_COMMIT: &str = match option_env!("DAPR_GIT_COMMIT") {
    Some(commit) => commit,
    None => "",
};
const GIT_VERSION: &str = match option_env!("DAPR_GIT_VERSION") {
    Some(version) => version,
    None => "",
};
const UNKNOWN: &str = "n/a";
/// How long a sidecar may take to tell its version.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_POLL: Duration = Duration::from_millis(2);

pub(super) fn command() -> Command<Handler> {
    Command::<Handler>::new("version", "Print the Dapr runtime and CLI version")
        .example("\n# Version for Dapr\ndapr version --output json\n")
        .flag(help_flag())
        .flag(
            Flag::string("output", "", "The output format of the version command. Valid values are: json.")
                .short('o'),
        )
        .run(run)
}

pub(super) fn build_info() -> Command<Handler> {
    Command::<Handler>::new("build-info", "Print build info of Dapr CLI and runtime")
        .example("\n# Print build info\ndapr build-info\n")
        .flag(help_flag())
        .run(run_build_info)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    match matches.string("output") {
        "" => print(context),
        "json" => {
            let (cli, runtime) = (escape_str(CLI_VERSION), escape_str(&runtime_version(context)));
            stdout(&format!("{{\"Cli version\":{cli},\"Runtime version\":{runtime}}}\n"));
            ExitCode::SUCCESS
        }
        _ => {
            context.say.out(crate::say::Level::Failure, "An invalid output format was specified.");
            ExitCode::FAILURE
        }
    }
}

/// The text of `dapr version` and `dapr --version`.
pub(super) fn print(context: &Context) -> ExitCode {
    stdout(&format!("CLI version: {CLI_VERSION} \nRuntime version: {}\n", runtime_version(context)));
    ExitCode::SUCCESS
}

/// What the installed sidecar says; without one, what this executable holds.
fn runtime_version(context: &Context) -> String {
    let installed = context.layout().ok().map(|layout| layout.daprd()).filter(|daprd| daprd.exists());
    match installed {
        Some(daprd) => {
            output_of(&daprd, "--version").map_or(UNKNOWN.to_owned(), |text| text.replace('\n', ""))
        }
        None if context.has_sidecar() => RUNTIME_VERSION.to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

fn run_build_info(context: &Context, _: &Matches) -> ExitCode {
    let layout = match context.layout() {
        Ok(layout) => layout,
        Err(error) => {
            context.say.failure(format!("Error getting build info: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let daprd = layout.daprd();
    let runtime = match daprd.exists() {
        true => output_of(&daprd, "--build-info").or_else(|| output_of(&daprd, "--version")),
        false if context.has_sidecar() => Some(format!("Version: {RUNTIME_VERSION}")),
        false => None,
    };
    let runtime: String =
        runtime.as_deref().unwrap_or("N/A").lines().map(|line| format!("\t{line}\n")).collect();
    stdout(&format!(
        "CLI:\n\tVersion: {CLI_VERSION}\n\tGit Commit: {GIT_COMMIT}\n\tGit Version: {GIT_VERSION}\nRuntime:\n{runtime}"
    ));
    ExitCode::SUCCESS
}

/// Stdout of `program flag`, when it succeeds. A program that does not answer is
/// given up: no command may hang because of it.
pub(crate) fn output_of(program: &Path, flag: &str) -> Option<String> {
    let mut command = Process::new(program);
    command.arg(flag).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let give_up = Instant::now() + ANSWER_LIMIT;
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if Instant::now() >= give_up => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => std::thread::park_timeout(ANSWER_POLL),
        }
    };
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}
