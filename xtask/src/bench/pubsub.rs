//! Publish to delivery through one sidecar whose app both publishes and subscribes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::load::{self, Request};
use super::processes::{App, Echo, Sidecar, cpu_time};
use super::report::{Metric, Sample};
use super::scenarios::{CONNECTIONS, Setup, check_errors, memory_of, warm_up_seconds, window};
use super::{Bench, Side, http};

const TOPIC: &str = "load";
const PUBLISH_PATH: &str = "/v1.0/publish/bus/load";
const PACED_RATE: u32 = 500;
const BULK_PATH: &str = "/v1.0/publish/bulk/bus/load";
/// Messages in one request.
const BULK: usize = 100;
/// Bytes of a message that is published in bulk or alone.
const BULK_FILLER: usize = 200;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// With no delivery for this long what is missing counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(5);

struct Deliveries {
    count: u64,
    first_ns: f64,
    last_ns: f64,
    p50: f64,
    p90: f64,
    p99: f64,
}

struct System {
    echo: Echo,
    sidecar: Sidecar,
    setup: Setup,
}

impl System {
    async fn start(bench: &Bench, side: Side, component: &str) -> anyhow::Result<Self> {
        let setup = Setup::new(bench)?;
        setup.component(bench, component).await?;
        let echo = Echo::start(&bench.tools.echo, Some(&format!("bus/{TOPIC}"))).await?;
        let sidecar = setup.sidecar(bench, side, "publisher", Some(App::http(echo.port))).await?;
        let system = System { echo, sidecar, setup };
        system.wait_for_first_delivery().await?;
        Ok(system)
    }

    async fn wait_for_first_delivery(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        let mut last = String::new();
        while Instant::now() < deadline {
            let answer = http::request(self.sidecar.http_port, "POST", PUBLISH_PATH, "{}").await?;
            last = format!("{} {}", answer.status, answer.body);
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.deliveries().await?.count > 0 {
                return Ok(());
            }
        }
        anyhow::bail!(
            "no message was delivered; the last publish answered {last}; {}",
            self.sidecar.log_tail()
        )
    }

    async fn deliveries(&self) -> anyhow::Result<Deliveries> {
        let answer = http::request(self.echo.port, "GET", "/bench/stats", "").await?;
        let stats: Value = serde_json::from_str(&answer.body)?;
        let field =
            |name: &str| stats[name].as_f64().with_context(|| format!("bench-echo reported no {name}"));
        Ok(Deliveries {
            count: stats["delivered"].as_u64().context("bench-echo reported no count")?,
            first_ns: field("first_ns")?,
            last_ns: field("last_ns")?,
            p50: field("p50_us")?,
            p90: field("p90_us")?,
            p99: field("p99_us")?,
        })
    }

    /// Waits until `expected` messages arrived or nothing arrives any more.
    async fn drain(&self, expected: u64) -> anyhow::Result<Deliveries> {
        let mut progress = (0, Instant::now());
        loop {
            let deliveries = self.deliveries().await?;
            if deliveries.count > progress.0 {
                progress = (deliveries.count, Instant::now());
            }
            if deliveries.count >= expected || progress.1.elapsed() > STALLED_AFTER {
                return Ok(deliveries);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Forgets what was delivered, once nothing is on its way any more.
    async fn settle(&self) -> anyhow::Result<()> {
        let mut before = self.deliveries().await?.count;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let count = self.deliveries().await?.count;
            if count == before {
                break;
            }
            before = count;
        }
        http::request(self.echo.port, "POST", "/bench/reset", "").await?;
        Ok(())
    }

    async fn publish_paced(&self, seconds: u32) -> anyhow::Result<(u64, u64)> {
        let order = format!("{} {PUBLISH_PATH} {PACED_RATE} {seconds}", self.sidecar.http_port);
        let answer = http::request(self.echo.port, "POST", "/bench/publish", &order).await?;
        anyhow::ensure!(answer.status == 200, "publishing: {}; {}", answer.body, self.sidecar.log_tail());
        let published: Value = serde_json::from_str(&answer.body)?;
        let field =
            |name: &str| published[name].as_u64().with_context(|| format!("bench-echo reported no {name}"));
        Ok((field("sent")?, field("failed")?))
    }
}

/// 500 messages a second; latency from the time a message was due to its arrival in the app.
pub async fn paced(bench: &Bench, side: Side, component: &str) -> anyhow::Result<Sample> {
    let system = System::start(bench, side, component).await?;
    system.publish_paced(warm_up_seconds(bench)).await?;
    system.settle().await?;
    let before = cpu_time(&[&system.sidecar])?;
    let (sent, failed) = system.publish_paced(bench.options.seconds).await?;
    let deliveries = system.drain(sent - failed).await?;
    let cpu = cpu_time(&[&system.sidecar])? - before;
    let lost = sent.saturating_sub(deliveries.count);
    let sample = Sample::default()
        .with(Metric::P50, deliveries.p50)
        .with(Metric::P90, deliveries.p90)
        .with(Metric::P99, deliveries.p99);
    finish(&system, sample, &deliveries, cpu, sent, lost)
}

/// As fast as 16 connections publish; the rate counts what arrived, from the first arrival to the last,
/// the latency is that of the publish call.
pub async fn saturated(bench: &Bench, side: Side, component: &str) -> anyhow::Result<Sample> {
    let system = System::start(bench, side, component).await?;
    let body = system.setup.body(&format!("{{\"filler\":\"{}\"}}", "x".repeat(1_000)))?;
    let request = Request {
        port: system.sidecar.http_port,
        method: "POST",
        path: PUBLISH_PATH,
        content_type: "application/json",
        keys: 1,
        body: Some(&body),
    };
    load::wrk(&request, CONNECTIONS, warm_up_seconds(bench)).await?;
    system.settle().await?;
    let before = cpu_time(&[&system.sidecar])?;
    let load = load::wrk(&request, CONNECTIONS, bench.options.seconds).await?;
    check_errors(&load, &system.sidecar)?;
    let published = load.requests as u64;
    let deliveries = system.drain(published).await?;
    let cpu = cpu_time(&[&system.sidecar])? - before;
    let lost = published.saturating_sub(deliveries.count) + load.errors as u64;
    finish(&system, Sample::of_load(&load), &deliveries, cpu, published, lost)
}

/// What one request with many messages gains over as many requests: messages a second, both as fast as 16
/// connections publish, with nobody who reads.
pub async fn bulk(bench: &Bench, side: Side, component: &str) -> anyhow::Result<Sample> {
    let setup = Setup::new(bench)?;
    setup.component(bench, component).await?;
    let sidecar = setup.sidecar(bench, side, "publisher", None).await?;
    let event = format!("{{\"filler\":\"{}\"}}", "x".repeat(BULK_FILLER));
    let entry = |n| format!("{{\"entryId\":\"{n}\",\"event\":{event},\"contentType\":\"application/json\"}}");
    let entries: Vec<String> = (0..BULK).map(entry).collect();
    let single = setup.folder.path().join("single");
    std::fs::write(&single, &event)?;
    let many = setup.body(&format!("[{}]", entries.join(",")))?;
    let publish = |path, body| Request {
        port: sidecar.http_port,
        method: "POST",
        path,
        content_type: "application/json",
        keys: 1,
        body: Some(body),
    };
    let (single, many) = (publish(PUBLISH_PATH, single.as_path()), publish(BULK_PATH, many.as_path()));
    for request in [&single, &many] {
        load::wrk(request, CONNECTIONS, warm_up_seconds(bench)).await?;
    }
    let one_by_one = load::wrk(&single, CONNECTIONS, bench.options.seconds).await?;
    check_errors(&one_by_one, &sidecar)?;
    let run = load::wrk(&many, CONNECTIONS, bench.options.seconds);
    let (load, sample) = window(&[&sidecar], run).await?;
    let rate = load.rate * BULK as f64;
    let cpu = sample.get(Metric::Cpu).unwrap_or_default() / BULK as f64;
    Ok(sample
        .with(Metric::Rate, rate)
        .with(Metric::Cpu, cpu)
        .with(Metric::OverSingle, rate / one_by_one.rate))
}

fn finish(
    system: &System,
    sample: Sample,
    deliveries: &Deliveries,
    cpu: Duration,
    published: u64,
    lost: u64,
) -> anyhow::Result<Sample> {
    anyhow::ensure!(
        lost * 100 <= published,
        "{lost} of {published} messages did not arrive; {}",
        system.sidecar.log_tail()
    );
    let seconds = (deliveries.last_ns - deliveries.first_ns) / 1e9;
    let sample = sample
        .with(Metric::Rate, deliveries.count as f64 / seconds)
        .with(Metric::Cpu, cpu.as_secs_f64() * 1e6 / deliveries.count as f64)
        .with(Metric::Errors, lost as f64);
    memory_of(sample, &[&system.sidecar])
}
