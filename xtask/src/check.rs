//! `cargo xtask check`: formatting, lints and the rules for dependencies.

use anyhow::bail;

use crate::command::{cargo, run};
use crate::deps::dependencies;

pub const USAGE: &str =
    "  check [fmt|clippy|deps]      formatting, lints, rules for dependencies (default: all)";

/// Runs the named checks, all of them without a name; every one runs even if an earlier one failed.
pub fn check(arguments: &[String]) -> anyhow::Result<()> {
    let all: [(&str, fn() -> anyhow::Result<()>); 3] =
        [("fmt", fmt), ("clippy", clippy), ("deps", dependencies)];
    if let Some(unknown) = arguments.iter().find(|name| all.iter().all(|(known, _)| known != name)) {
        bail!("no check is called {unknown}\n\n{USAGE}");
    }
    let mut failed = Vec::new();
    for (name, body) in all {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        if let Err(error) = body() {
            println!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}
