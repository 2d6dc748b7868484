//! The program: from arguments to an exit code.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use dapr_flags::{FlagError, output};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_kubernetes::{Client, ClusterConfig};
use dapr_telemetry::logging::{LogHandle, LogOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::generation::{self, Plan};
use crate::metrics::Metrics;
use crate::options::{self, LogSettings, Mode, Options};
use crate::watch::{FileWatch, Fingerprint};
use crate::{SCOPE, VERSION, config};

const USAGE: u8 = 2;
/// What the list of flags does not tell.
const LESSON: &str = "
Sentry is the certificate authority: it gives programs of Dapr the certificates by which they know each
other. On one machine:

  touch sentry.yaml && mkdir credentials
  sentry --config sentry.yaml --issuer-credentials credentials
  DAPR_TRUST_ANCHORS=\"$(cat credentials/ca.crt)\" \\
    daprd --app-id a --enable-mtls --sentry-address localhost:50001

Keys and certificates that the folder lacks are made and kept there; replaced files are taken over without
a restart. Without tokenValidators in the Configuration (spec.mtls) anyone who reaches the port gets any
identity: listen on localhost, or configure 'jwks'. 'dapr mtls' checks, exports and renews what is
in the folder. The variable NAMESPACE names the namespace of the control plane.
";
/// Changes of files within this time count as one (control-plane.md §3.3).
const BATCH: Duration = Duration::from_secs(2);
/// Most threads: certificates are asked for once in hours.
const MAX_WORKERS: usize = 2;

/// Runs `sentry`; `args` without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let args = args.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let usage = || format!("Usage of sentry:\n{}", options::flag_set(&env).usages());
    let matches = match options::parse(args, &env) {
        Ok(matches) => matches,
        Err(FlagError::Help) => {
            output::stderr(&format!("{}{LESSON}", usage()));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            output::stderr(&format!("{error}\n{}\n", usage()));
            return ExitCode::from(USAGE);
        }
    };
    let log = match options::log_settings(&matches).and_then(|settings| install(&settings)) {
        Ok(log) => log,
        Err(error) => {
            return match LogOptions::new(VERSION).install() {
                Ok(log) => ExitCode::from(log.fatal(SCOPE, &error)),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    match options::resolve(&matches, &env).and_then(|options| start(options, &log)) {
        Ok(()) => {
            tracing::info!(target: SCOPE, "Sentry shut down gracefully");
            ExitCode::SUCCESS
        }
        Err(error) => ExitCode::from(log.fatal(SCOPE, &error)),
    }
}

fn install(settings: &LogSettings) -> Result<LogHandle, String> {
    let options = LogOptions {
        level: settings.level,
        format: settings.format,
        file: settings.file.clone(),
        ..LogOptions::new(VERSION)
    };
    options.install().map_err(|e| e.to_string())
}

fn start(options: Options, log: &LogHandle) -> Result<(), String> {
    tracing::info!(target: SCOPE, "Starting Dapr Sentry certificate authority -- version {VERSION} -- commit ");
    tracing::info!(target: SCOPE, "Log level set to: {}", log.level().as_str());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("sentry")
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    let result = runtime.block_on(supervise(options));
    // Whatever still runs was given its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Runs generations until a signal comes or one fails.
async fn supervise(options: Options) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|e| format!("cannot listen for signals: {e}"))?;
    let stop = Shutdown::new();
    let working = work(options, stop.clone());
    tokio::pin!(working);
    tokio::select! {
        result = &mut working => return result,
        name = signals.next() => {
            tracing::info!(target: "dapr.signals", "Received signal '{name}'; beginning shutdown");
        }
    }
    stop.trigger();
    tokio::select! {
        result = &mut working => result,
        name = signals.next() => {
            Err(format!("Received signal '{name}' during shutdown; exiting immediately"))
        }
    }
}

async fn work(options: Options, stop: Shutdown) -> Result<(), String> {
    // Connections to the cluster outlive generations.
    let tasks = TaskGroup::new(stop.clone());
    let Some(client) = stop.guard(async { client(&options, &tasks) }).await else { return Ok(()) };
    let client = client?;
    let Some(config) = stop.guard(config::load(&options, client.as_ref())).await else { return Ok(()) };
    let config = config?;
    let folders = folders(&options);
    tracing::info!(target: SCOPE, "Starting watch on filesystem directories: {}", listed(&folders));
    let changes = FileWatch::new(folders.iter().map(PathBuf::as_path)).map_err(|e| e.to_string())?;
    let plan = Plan { options, config, client, metrics: Metrics::new() };
    while !stop.is_triggered() {
        run_generation(&plan, &stop, &changes).await?;
    }
    Ok(())
}

/// Until `stop` or until the files hold something else than it is made of.
async fn run_generation(plan: &Plan, stop: &Shutdown, changes: &FileWatch) -> Result<(), String> {
    let end = stop.child();
    let (loaded, mut seen) = watch::channel(None);
    let running = generation::run(plan, end.clone(), &loaded);
    tokio::pin!(running);
    loop {
        tokio::select! {
            result = &mut running => return result,
            () = changes.changed() => {}
        }
        tracing::debug!(target: SCOPE, "Received issuer credentials changed signal");
        tokio::select! {
            result = &mut running => return result,
            () = tokio::time::sleep(BATCH) => {}
        }
        let differs = tokio::select! {
            result = &mut running => return result,
            known = seen.wait_for(Option::is_some) => {
                let now = Fingerprint::of(plan.options.watched_files());
                // Its own writes are known; the sender lives as long as this.
                known.is_ok_and(|known| known.as_ref() != Some(&now))
            }
        };
        if differs {
            plan.metrics.issuer_changed();
            tracing::warn!(target: SCOPE, "Issuer credentials changed; reloading");
            end.trigger();
            return running.await;
        }
    }
}

fn client(options: &Options, tasks: &TaskGroup) -> Result<Option<Client>, String> {
    if options.mode != Mode::Kubernetes {
        return Ok(None);
    }
    let env = |name: &str| options.environment.get(name);
    let config = ClusterConfig::load(&env, Some(&options.kubeconfig)).map_err(|e| e.to_string())?;
    Client::new(&config, tasks.clone()).map(Some).map_err(|e| e.to_string())
}

fn folders(options: &Options) -> BTreeSet<PathBuf> {
    let folder = |file: &Path| match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    options.watched_files().into_iter().map(folder).collect()
}

/// As Go prints a list.
fn listed(folders: &BTreeSet<PathBuf>) -> String {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    format!("[{}]", names.join(" "))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal as the log shows it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "terminated",
            _ = self.interrupt.recv() => "interrupt",
        }
    }
}
