//! The project's only task runner: every step of CI and of a release is one
//! subcommand here. It knows the workspace's folders and the programs that
//! build it, never a crate of it. Entry: the table [`TASKS`].
#![forbid(unsafe_code)]

mod bench;
mod check;
mod command;
mod deps;
mod example;
mod fuzz;
#[cfg(test)]
mod map;
mod test;

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

type Task = fn(&[String]) -> anyhow::Result<()>;

/// Name, what `cargo xtask NAME` runs, its usage.
const TASKS: &[(&str, Task, &str)] = &[
    ("test", test::test, test::USAGE),
    ("check", check::check, check::USAGE),
    ("example", example::example, example::USAGE),
    ("bench", bench::run, bench::USAGE),
    ("fuzz", fuzz::fuzz, fuzz::USAGE),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<()> {
    let wanted = arguments.first().map_or("", String::as_str);
    let help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    if let Some((_, task, usage)) = TASKS.iter().find(|(name, ..)| *name == wanted) {
        if help {
            explain(usage);
            return Ok(());
        }
        return task(&arguments[1..]);
    }
    let usages: Vec<_> = TASKS.iter().map(|(_, _, usage)| *usage).collect();
    let usage = format!("usage: cargo xtask TASK\n\n{}", usages.join("\n"));
    if help {
        explain(&usage);
        return Ok(());
    }
    anyhow::bail!("{usage}")
}

/// A reader that has gone (`--help | head -1`) is no failure.
fn explain(usage: &str) {
    let _ = writeln!(stdout(), "{usage}");
}
