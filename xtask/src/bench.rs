//! `cargo xtask bench`: load scenarios (bench/README.md) against our sidecar and, in the same run and
//! turn by turn, against another set of binaries. It knows sidecars only as programs with flags and
//! ports. Entry: [`run`].

mod http;
mod load;
mod machine;
mod mtls;
mod observed;
mod options;
mod paths;
mod processes;
mod pubsub;
mod report;
mod scenarios;
mod single;
mod tools;

use std::path::PathBuf;

use anyhow::Context as _;

use self::options::Options;
use self::report::{Report, Row, Sample};
use self::scenarios::Scenario;

pub use self::options::USAGE;

/// One set of binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Theirs => "theirs",
        }
    }
}

/// What every scenario needs: where the binaries are and what drives them.
pub struct Bench {
    options: Options,
    ours: PathBuf,
    theirs: Option<PathBuf>,
    tools: tools::Tools,
    redis: Option<processes::Redis>,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn program(&self, side: Side, name: &str) -> anyhow::Result<PathBuf> {
        let folder = match side {
            Side::Ours => &self.ours,
            Side::Theirs => self.theirs.as_ref().context("no --against folder")?,
        };
        Ok(folder.join(name))
    }

    fn sides(&self) -> &'static [Side] {
        if self.theirs.is_some() { &[Side::Ours, Side::Theirs] } else { &[Side::Ours] }
    }

    fn redis_port(&self) -> anyhow::Result<u16> {
        Ok(self.redis.as_ref().context("redis was not started for this scenario")?.port)
    }
}

/// Runs the subcommand. Every process it starts dies with it, also on Ctrl-C and SIGTERM.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::parse(arguments)?;
    if options.list {
        for scenario in scenarios::ALL {
            println!("{:<26} {}", scenario.name, scenario.what);
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = measure(options) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn measure(options: Options) -> anyhow::Result<()> {
    let chosen = scenarios::choose(&options.scenarios)?;
    let ours = options.our_binaries(chosen.iter().any(|scenario| scenario.needs_sentry())).await?;
    let echo = tools::build_echo().await?;
    let tools = tools::Tools::find(&options.cache, echo, &chosen).await?;
    let scratch = tempfile::Builder::new().prefix("dapr-bench-").tempdir()?;
    // Building has just loaded the machine; the check comes after it.
    check_quiet(&options).await?;
    let needs_redis = chosen.iter().any(|scenario| scenario.needs_redis());
    let redis = if needs_redis { Some(processes::Redis::start(scratch.path()).await?) } else { None };
    let bench = Bench { theirs: options.against.clone(), ours, tools, redis, scratch, options };
    for side in bench.sides() {
        let program = bench.program(*side, "daprd")?;
        anyhow::ensure!(
            program.is_file(),
            "{} is missing: build it or name another folder",
            program.display()
        );
    }

    let mut report = Report::new(bench.options.seconds, bench.options.rounds);
    for scenario in &chosen {
        report.rows.push(measure_scenario(&bench, scenario).await?);
    }
    if bench.options.json {
        println!("{}", report.to_json())
    } else {
        println!("{}", report.to_markdown())
    }
    let failed = report.failures();
    anyhow::ensure!(failed == 0, "{failed} measurements failed");
    Ok(())
}

async fn check_quiet(options: &Options) -> anyhow::Result<()> {
    let busy = machine::busy_share().await?;
    if busy <= machine::QUIET_BELOW {
        return Ok(());
    }
    let text = format!(
        "the machine is not quiet: {:.0} % of the processors were busy during one second (limit {:.0} %, load average {})",
        busy * 100.0,
        machine::QUIET_BELOW * 100.0,
        machine::load_average()?
    );
    anyhow::ensure!(options.force, "{text}; wait, or pass --force and compare ratios only");
    eprintln!("warning: {text}; only ratios mean anything");
    Ok(())
}

/// All rounds of one scenario: A B, then B A, so that a drift of the machine meets both sides alike.
async fn measure_scenario(bench: &Bench, scenario: &'static Scenario) -> anyhow::Result<Row> {
    let mut row = Row::new(scenario, machine::busy_share().await?);
    let (mut ours, mut theirs): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
    for round in 0..bench.options.rounds {
        let mut order = bench.sides().to_vec();
        if round % 2 == 1 {
            order.reverse();
        }
        for side in order {
            eprintln!("{} ({}, round {})", scenario.name, side.name(), round + 1);
            match scenario.run(bench, side).await {
                Ok(sample) if side == Side::Ours => ours.push(sample),
                Ok(sample) => theirs.push(sample),
                Err(error) => {
                    eprintln!("  failed: {error:#}");
                    row.failures.push(format!("{}: {error:#}", side.name()));
                }
            }
        }
    }
    row.ours = Sample::mean(&ours);
    row.theirs = Sample::mean(&theirs);
    Ok(row)
}
