//! `dapr stop` (cli.md §6.3).

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use dapr_flags::{Command, Flag, Matches};
use dapr_gocompat::quote::quote;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use super::{Handler, help_flag, kubernetes_flag, later};
use crate::context::Context;
use crate::instances::{self, Instance};
use crate::run::file;

const EXAMPLE: &str = "
# Stop Dapr application
dapr stop --app-id <ID>

# Stop multiple apps by providing a run config file
dapr stop --run-file dapr.yaml

# Stop multiple apps by providing a directory path containing the run config file(dapr.yaml)
dapr stop --run-file /path/to/directory
";

pub(super) fn command() -> Command<Handler> {
    let run_file = "Path to the run template file for the list of apps to stop";
    Command::<Handler>::new(
        "stop",
        "Stop Dapr instances and their associated apps. Supported platforms: Self-hosted",
    )
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(Flag::string("app-id", "", "The application id to be stopped").short('a'))
    .flag(Flag::string("run-file", "", run_file).short('f'))
    .flag(kubernetes_flag())
    .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    if let Some(code) = later::refuse_kubernetes(context, matches, "stop") {
        return code;
    }
    let run_file = matches.string("run-file");
    if !run_file.is_empty() {
        return stop_run_file(context, run_file);
    }
    let mut ids: Vec<&str> = matches.positionals().iter().map(String::as_str).collect();
    ids.extend(Some(matches.string("app-id")).filter(|id| !id.is_empty()));
    let apps = context.block_on(instances::list());
    let mut owned: HashMap<i32, usize> = HashMap::new();
    apps.iter().for_each(|app| *owned.entry(app.cli_pid()).or_default() += 1);
    for id in ids {
        match stop_app(id, &apps, &mut owned) {
            Ok(()) => context.say.success(format!("app stopped successfully: {id}")),
            Err(reason) => context.say.failure(format!("failed to stop app id {id}: {reason}")),
        }
    }
    ExitCode::SUCCESS
}

/// Ends the command that runs the app, and with it the app; a sidecar whose
/// command also runs others, or that has none, is ended alone.
fn stop_app(id: &str, apps: &[Instance], owned: &mut HashMap<i32, usize>) -> Result<(), String> {
    let app = apps
        .iter()
        .find(|app| app.sidecar.app_id == id)
        .ok_or_else(|| format!("couldn't find app id {id}"))?;
    let cli = app.cli_pid();
    let siblings = owned.entry(cli).or_default();
    let target = if cli == 0 || *siblings > 1 {
        *siblings = siblings.saturating_sub(1);
        app.sidecar.pid
    } else {
        cli
    };
    kill(Pid::from_raw(target), Signal::SIGTERM)
        .map_err(|error| format!("cannot signal process {target}: {}", error.desc()))
}

fn stop_run_file(context: &Context, run_file: &str) -> ExitCode {
    let path = match file::locate(run_file) {
        Ok(path) => path,
        Err(reason) => {
            context.say.failure(format!("Failed to get run file path: {reason}"));
            return ExitCode::FAILURE;
        }
    };
    let path = file::absolute(&path);
    let apps = context.block_on(instances::list());
    match stop_apps_of(&path, &apps) {
        Ok(()) => context.say.success("Dapr and app processes stopped successfully"),
        Err(reason) => context.say.failure(format!("Failed to stop Dapr and app processes: {reason}")),
    }
    ExitCode::SUCCESS
}

fn stop_apps_of(path: &Path, apps: &[Instance]) -> Result<(), String> {
    let text = path.to_string_lossy();
    let app = apps
        .iter()
        .find(|app| app.text("runTemplatePath") == text && app.cli_pid() > 0)
        .ok_or_else(|| format!("couldn't find apps with run file {}", quote(&text)))?;
    let cli = Pid::from_raw(app.cli_pid());
    let result = match getpgid(Some(cli)) {
        // Only a group that the command leads holds nothing but its processes.
        Ok(group) if group == cli => {
            killpg(group, Signal::SIGTERM).or_else(|_| killpg(group, Signal::SIGKILL))
        }
        Ok(_) => kill(cli, Signal::SIGTERM).or_else(|_| kill(cli, Signal::SIGKILL)),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(format!("cannot signal process {cli}: {}", error.desc())),
    }
}
