//! Feeds broken input to everything that reads what others sent: seeds of a
//! target are mutated with a seeded generator until the time is over. It runs
//! with the stable toolchain and without coverage; `cargo xtask fuzz` starts it.
//!
//! It must not know how the project is built or tested. Entry: the table
//! [`targets::TARGETS`]; [`campaign`] runs one of them in a process of its own,
//! which may end in any way or hang.
#![forbid(unsafe_code)]

mod campaign;
mod mutate;
mod progress;
mod targets;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use targets::{TARGETS, Target};

const USAGE: &str = "usage: dapr-fuzz [TARGET] [--seconds N] [--seed N] [--input FILE]";
const SECONDS: u64 = 60;
/// How the process for one target is told what it is.
const WORKER: &str = "--worker";

struct Options {
    target: Option<String>,
    seconds: u64,
    seed: u64,
    input: Option<String>,
    worker: Option<(String, u64)>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found.
fn run() -> anyhow::Result<bool> {
    let options = options(std::env::args().skip(1))?;
    let duration = Duration::from_secs(options.seconds);
    let chosen: Vec<&Target> = match &options.target {
        None => TARGETS.iter().collect(),
        Some(name) => vec![find(name)?],
    };
    if let Some(path) = &options.input {
        let [target] = chosen[..] else { bail!("--input needs a target\n{USAGE}") };
        let input = std::fs::read(path).with_context(|| path.clone())?;
        worker::on_small_stack(move || (target.run)(&input));
        println!("{}: {path} does no harm", target.name);
        return Ok(true);
    }
    if let Some((progress, first)) = &options.worker {
        let [target] = chosen[..] else { bail!("{WORKER} needs a target") };
        worker::run(target, options.seed, *first, duration, Path::new(progress))?;
        return Ok(true);
    }
    let mut clean = true;
    for target in chosen {
        clean &= campaign::run(target, options.seed, duration)?;
    }
    Ok(clean)
}

fn find(name: &str) -> anyhow::Result<&'static Target> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.with_context(|| format!("there is no target '{name}'; there are: {}", names()))
}

fn options(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options { target: None, seconds: SECONDS, seed: 1, input: None, worker: None };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
            "--seed" => options.seed = value()?.parse().context("--seed")?,
            "--input" => options.input = Some(value()?),
            WORKER => options.worker = Some((value()?, value()?.parse().context(WORKER)?)),
            name if !name.starts_with('-') && options.target.is_none() => options.target = Some(arg),
            _ => bail!("'{arg}' is not understood\n{USAGE}"),
        }
    }
    Ok(options)
}
