//! Whether memory stays flat when every request brings a path of its own, which is a label of metrics and a name
//! of circuit breakers.

use anyhow::Context as _;

use super::report::{Metric, Sample};
use super::scenarios::{PACED_RATE, Pair, Setup, template, window};
use super::{Bench, Side, load, machine};

/// Longest time until memory is taken for settled, in seconds.
const WARM_UP: u32 = 60;

/// Memory after the warm-up and at the end of the window, which `--seconds` makes as long as wanted.
pub async fn unique(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let oha = bench.tools.oha.as_deref().context("oha was not installed for this scenario")?;
    let setup = Setup::new(bench)?;
    setup.resource("resiliency", &template("resiliency")?)?;
    let pair = Pair::start_in(bench, side, None, setup).await?;
    let path = format!("{}/[a-z0-9]{{16}}", pair.path);
    let run = |seconds| load::oha_paths(oha, pair.caller.http_port, &path, PACED_RATE, seconds);
    run(bench.options.seconds.min(WARM_UP)).await?;
    let warm = memory(&pair)?;
    report(side, "after the warm-up", &warm);
    let (_, sample) = window(&pair.sidecars(), run(bench.options.seconds)).await?;
    let end = memory(&pair)?;
    report(side, "at the end", &end);
    let largest = |of: fn(&machine::Memory) -> u64| warm.iter().map(of).max().unwrap_or_default() as f64;
    let growth = warm.iter().zip(&end).map(|(warm, end)| end.anonymous as f64 - warm.anonymous as f64);
    Ok(sample
        .with(Metric::WarmRss, largest(|memory| memory.rss))
        .with(Metric::WarmAnonymous, largest(|memory| memory.anonymous))
        .with(Metric::Growth, growth.fold(f64::MIN, f64::max)))
}

fn memory(pair: &Pair) -> anyhow::Result<Vec<machine::Memory>> {
    pair.sidecars().iter().map(|sidecar| sidecar.memory()).collect()
}

fn report(side: Side, when: &str, memory: &[machine::Memory]) {
    for (name, memory) in ["caller", "callee"].iter().zip(memory) {
        let (rss, anonymous) = (memory.rss as f64 / 1024.0, memory.anonymous as f64 / 1024.0);
        eprintln!("  {} {name} {when}: RSS {rss:.1} MB, anonymous {anonymous:.1} MB", side.name());
    }
}
