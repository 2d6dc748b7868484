//! What mutual TLS between the sidecars costs: two pairs in one run, one with identities and one without, under
//! the same load turn by turn.

use anyhow::Context as _;

use super::load;
use super::processes::Sentry;
use super::report::{Metric, Sample};
use super::scenarios::{PACED_RATE, Pair, SMALL_BODY, post, warm_up_seconds, window};
use super::{Bench, Side};

/// Which pair gets the load: plain, secured, secured, plain, so that a drift of the machine meets both alike.
const TURNS: [bool; 4] = [false, true, true, false];

/// Figures of the secured pair, and its processor time as a multiple of the plain one's.
pub async fn paced(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let oha = bench.tools.oha.as_deref().context("oha was not installed for this scenario")?;
    let folder = tempfile::tempdir_in(bench.scratch.path())?;
    let sentry = Sentry::start(&bench.program(side, "sentry")?, folder.path()).await?;
    let pairs = [Pair::start(bench, side, None).await?, Pair::start(bench, side, Some(&sentry)).await?];
    let body = pairs[0].setup.body(&"x".repeat(SMALL_BODY))?;
    for pair in &pairs {
        let request = post(pair.caller.http_port, &pair.path, &body);
        load::oha(oha, &request, PACED_RATE, warm_up_seconds(bench)).await?;
    }
    let mut samples: [Vec<Sample>; 2] = [Vec::new(), Vec::new()];
    for secured in TURNS.map(usize::from) {
        let pair = &pairs[secured];
        let request = post(pair.caller.http_port, &pair.path, &body);
        let run = load::oha(oha, &request, PACED_RATE, bench.options.seconds);
        samples[secured].push(window(&pair.sidecars(), run).await?.1);
    }
    let [plain, secured] = samples.map(|samples| Sample::mean(&samples).unwrap_or_default());
    let cpu = |sample: &Sample| sample.get(Metric::Cpu).filter(|cpu| *cpu > 0.0);
    let cost = cpu(&secured).context("no processor time")? / cpu(&plain).context("no processor time")?;
    Ok(secured.with(Metric::OverPlain, cost))
}
