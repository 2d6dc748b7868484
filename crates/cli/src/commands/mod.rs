//! The command tree and how a command line becomes a running command.

mod completion;
mod init;
mod invoke;
mod later;
mod lint;
mod list;
mod mtls;
mod payload;
mod publish;
mod resiliency;
mod run;
mod stop;
mod uninstall;
mod version;

pub(crate) use version::output_of;

use std::ffi::OsString;
use std::process::ExitCode;

use dapr_flags::{Command, Flag, Matches, Outcome};

use crate::context::Context;
use crate::say::{Say, stderr, stdout};
use crate::{MakeCatalogue, Program};

/// The code for a command line that is not understood.
const USAGE_EXIT: u8 = 255;

pub(crate) type Handler = fn(&Context, &Matches) -> ExitCode;

const LONG: &str = "
  ___   _   ___ ___
 |   \\ /_\\ | _ \\ _ \\
 | |) / _ \\|  _/   /
 |___/_/ \\_\\_| |_|_\\

Distributed Application Runtime";

pub(crate) fn execute(args: Vec<OsString>, programs: &[Program], catalogue: MakeCatalogue) -> ExitCode {
    let args = match args.into_iter().skip(1).map(OsString::into_string).collect::<Result<Vec<_>, _>>() {
        Ok(args) => args,
        Err(arg) => {
            stderr(&format!("Error: the argument {arg:?} is not valid UTF-8\n"));
            return ExitCode::from(USAGE_EXIT);
        }
    };
    let tree = tree();
    let resolved = tree.resolve(args);
    resolved.warnings.iter().for_each(|line| stderr(&format!("{line}\n")));
    match resolved.outcome {
        Outcome::Help(text) => stdout(&text),
        Outcome::UnknownTopic(text) => stderr(&text),
        Outcome::Refused { message, stderr: text } => {
            stderr(&text);
            stdout(&format!("{message}\n"));
            return ExitCode::from(USAGE_EXIT);
        }
        Outcome::Run { handler, matches, path } => {
            let (json, runtime_path) = match later::answers(&path) {
                true => (false, ""),
                false => (matches.bool("log-as-json"), matches.string("runtime-path")),
            };
            let context = Context::of_process(programs, Say { json }, runtime_path).with_catalogue(catalogue);
            return handler(&context, &matches);
        }
    }
    ExitCode::SUCCESS
}

/// All commands. Those of Kubernetes, the scheduler and workflows answer that
/// they are not there yet and are not listed.
pub(crate) fn tree() -> Command<Handler> {
    let root = Command::<Handler>::new("dapr", "Dapr CLI")
        .long(LONG)
        .flag(Flag::bool("version", false, "version for dapr").short('v'))
        .persistent_flag(Flag::bool("log-as-json", false, "Log output in JSON format"))
        .persistent_flag(Flag::string(
            "runtime-path",
            "",
            "The path to the dapr runtime installation directory",
        ))
        .run(root)
        .child(version::build_info())
        .child(completion::command())
        .child(init::command())
        .child(invoke::command())
        .child(lint::command())
        .child(list::command())
        .child(mtls::command())
        .child(publish::command())
        .child(resiliency::command())
        .child(run::command())
        .child(stop::command())
        .child(uninstall::command())
        .child(version::command());
    later::commands().into_iter().fold(root, Command::child)
}

fn root(context: &Context, matches: &Matches) -> ExitCode {
    if matches.bool("version") {
        return version::print(context);
    }
    if let Outcome::Help(text) = tree().resolve(vec!["--help".to_owned()]).outcome {
        stdout(&text);
    }
    ExitCode::SUCCESS
}

/// `-h` of every command below the root.
fn help_flag() -> Flag {
    Flag::bool("help", false, "Print this help message").short('h')
}

/// `-k`, accepted so that its use gets a clear answer.
fn kubernetes_flag() -> Flag {
    Flag::bool("kubernetes", false, "Not available in this release").short('k').hidden()
}

#[cfg(test)]
mod tests;
