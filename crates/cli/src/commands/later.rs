//! Commands of Dapr that this release does not have yet. They are named here so
//! that using one gets a clear answer instead of a guess at another command.

use std::process::ExitCode;

use dapr_flags::{Command, Matches};

use super::Handler;
use crate::context::Context;

struct Later {
    name: &'static str,
    aliases: &'static [&'static str],
    answer: Handler,
}

const LATER: [Later; 9] = [
    Later { name: "annotate", aliases: &[], answer: |c, _| kubernetes(c, "annotate") },
    Later { name: "components", aliases: &[], answer: |c, _| kubernetes(c, "components") },
    Later { name: "configurations", aliases: &[], answer: |c, _| kubernetes(c, "configurations") },
    Later { name: "logs", aliases: &[], answer: |c, _| kubernetes(c, "logs") },
    Later { name: "mcpservers", aliases: &[], answer: |c, _| missing(c, "dapr mcpservers") },
    Later { name: "scheduler", aliases: &["sched"], answer: |c, _| missing(c, "dapr scheduler") },
    Later { name: "status", aliases: &[], answer: |c, _| kubernetes(c, "status") },
    Later { name: "upgrade", aliases: &[], answer: |c, _| kubernetes(c, "upgrade") },
    Later { name: "workflow", aliases: &["wf"], answer: |c, _| missing(c, "dapr workflow") },
];

pub(super) fn commands() -> Vec<Command<Handler>> {
    let command = |later: &Later| {
        Command::<Handler>::new(later.name, "Not available in this release")
            .aliases(later.aliases)
            .hidden()
            .raw()
            .run(later.answer)
    };
    LATER.iter().map(command).collect()
}

/// Whether `path` is one of these commands, whose flags are not read.
pub(super) fn answers(path: &str) -> bool {
    LATER.iter().any(|later| path.strip_prefix("dapr ") == Some(later.name))
}

fn kubernetes(context: &Context, name: &str) -> ExitCode {
    missing(context, &format!("dapr {name} (Kubernetes)"))
}

fn missing(context: &Context, what: &str) -> ExitCode {
    context.say.failure(format!("{what} is not part of this release yet"));
    ExitCode::FAILURE
}

/// The answer to `-k` on a command that also works without it, if it was given.
pub(super) fn refuse_kubernetes(context: &Context, matches: &Matches, name: &str) -> Option<ExitCode> {
    matches.bool("kubernetes").then(|| missing(context, &format!("dapr {name} --kubernetes")))
}
