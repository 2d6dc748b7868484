//! `dapr-sim SCENARIO [SEEDS [FIRST]]`: runs seeds and names the first that
//! fails.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, bail};
use dapr_sim::{rotation, runner};

/// Of a full run.
const SEEDS: u64 = 10_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let scenario = args.next().context("usage: dapr-sim rotation [SEEDS [FIRST]]")?;
    let mut number = |default| args.next().map_or(Ok(default), |a| a.parse().context(format!("'{a}'")));
    let (seeds, first) = (number(SEEDS)?, number(0)?);
    match scenario.as_str() {
        "rotation" => {
            runner::search(first, seeds, |seed| rotation::run(seed, rotation::TWO_YEARS).map(drop))
                .map_err(|violation| anyhow::anyhow!("{violation}"))?;
        }
        other => bail!("no scenario '{other}'; there is: rotation"),
    }
    println!("{scenario}: {seeds} seeds from {first}, no violation");
    Ok(())
}
