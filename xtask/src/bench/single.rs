//! Scenarios of one sidecar by itself: start, memory when idle, size of the program.

use std::path::PathBuf;
use std::time::Duration;

use super::processes::{Sidecar, SidecarPlan};
use super::report::{Metric, Sample};
use super::scenarios::Setup;
use super::{Bench, Side};

const STARTS: usize = 20;
/// A sidecar settles this long after it got ready before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

pub async fn start(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        times.push(alone(bench, side).await?.0.ready_after);
    }
    times.sort_unstable();
    let us = |share: usize| times[(STARTS * share).div_ceil(100) - 1].as_secs_f64() * 1e6;
    let sample = Sample::default().with(Metric::P50, us(50)).with(Metric::P90, us(90));
    Ok(sample.with(Metric::P99, us(99)))
}

pub async fn idle(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let (sidecar, _setup) = alone(bench, side).await?;
    tokio::time::sleep(IDLE).await;
    let memory = sidecar.memory()?;
    Ok(Sample::default()
        .with(Metric::Rss, memory.rss as f64)
        .with(Metric::Anonymous, memory.anonymous as f64))
}

pub fn size(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let program: PathBuf = bench.program(side, "daprd")?;
    Ok(Sample::default().with(Metric::Size, std::fs::metadata(program)?.len() as f64))
}

/// A sidecar without an app and without components.
async fn alone(bench: &Bench, side: Side) -> anyhow::Result<(Sidecar, Setup)> {
    let setup = Setup::new(bench)?;
    let sidecar = Sidecar::start(SidecarPlan {
        program: &bench.program(side, "daprd")?,
        app_id: "alone",
        app: None,
        resources: None,
        sentry: None,
        configuration: setup.configuration.as_deref(),
        scratch: setup.folder.path(),
    })
    .await?;
    Ok((sidecar, setup))
}
