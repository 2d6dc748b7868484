//! What being observed and protected costs: two pairs in one run under the same load, turn by turn. One has
//! metrics, a span of every request sent to an OTLP collector, and a policy with timeout, retries and circuit
//! breaker for every call; the other has none of it.

use anyhow::Context as _;
use serde_json::Value;

use super::load;
use super::processes::Echo;
use super::report::{Metric, Sample};
use super::scenarios::{PACED_RATE, Pair, SMALL_BODY, Setup, post, template, warm_up_seconds, window};
use super::{Bench, Side, http};

/// Which pair gets the load, as in `invoke-mtls`.
const TURNS: [bool; 4] = [false, true, true, false];
const PLAIN: &str = "  metric:\n    enabled: false\n  tracing:\n    samplingRate: \"0\"\n";

/// Figures of the observed pair, and its processor time as a multiple of the plain one's.
pub async fn paced(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let oha = bench.tools.oha.as_deref().context("oha was not installed for this scenario")?;
    let collector = Echo::start(&bench.tools.echo, None).await?;
    let plain = Setup::with_configuration(bench, PLAIN)?;
    let observed = Setup::with_configuration(bench, &observed(collector.port))?;
    observed.resource("resiliency", &template("resiliency")?)?;
    let pairs =
        [Pair::start_in(bench, side, None, plain).await?, Pair::start_in(bench, side, None, observed).await?];
    let body = pairs[0].setup.body(&"x".repeat(SMALL_BODY))?;
    for pair in &pairs {
        let request = post(pair.caller.http_port, &pair.path, &body);
        load::oha(oha, &request, PACED_RATE, warm_up_seconds(bench)).await?;
    }
    let mut samples: [Vec<Sample>; 2] = [Vec::new(), Vec::new()];
    for turn in TURNS.map(usize::from) {
        let pair = &pairs[turn];
        let request = post(pair.caller.http_port, &pair.path, &body);
        let run = load::oha(oha, &request, PACED_RATE, bench.options.seconds);
        samples[turn].push(window(&pair.sidecars(), run).await?.1);
    }
    let answer = http::request(collector.port, "GET", "/bench/traces", "").await?;
    let traces: Value = serde_json::from_str(&answer.body)?;
    anyhow::ensure!(
        traces["batches"].as_u64() > Some(0),
        "no span reached the collector; {}",
        pairs[1].caller.log_tail()
    );
    let [plain, observed] = samples.map(|samples| Sample::mean(&samples).unwrap_or_default());
    let cpu = |sample: &Sample| sample.get(Metric::Cpu).filter(|cpu| *cpu > 0.0);
    let cost = cpu(&observed).context("no processor time")? / cpu(&plain).context("no processor time")?;
    Ok(observed.with(Metric::OverPlain, cost))
}

fn observed(collector: u16) -> String {
    format!(
        "  metric:\n    enabled: true\n  tracing:\n    samplingRate: \"1\"\n    otel:\n      endpointAddress: \
         \"127.0.0.1:{collector}\"\n      isSecure: false\n      protocol: http\n"
    )
}
