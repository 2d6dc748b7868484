//! The program: from arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use dapr_components::registry::Registry;
use dapr_flags::output;
use dapr_kernel::Shutdown;
use dapr_kernel::workers::Workers;
use dapr_telemetry::logging::{LogHandle, LogOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::options::{self, LogSettings, Options, OptionsError, Request};
use crate::sidecar::{Exit, Sidecar};
use crate::sockets::Sockets;
use crate::{VERSION, open_files, wait};

const SCOPE: &str = "dapr.runtime";
/// Also of a restart that the sidecar itself asks for.
const HANGUP: &str = "Received signal 'hangup'; restarting";
const USAGE: u8 = 2;
/// Time for the answer to a forced shutdown to leave.
const FORCE_DELAY: Duration = Duration::from_millis(100);

/// Runs `daprd`; `args` without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args = args.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let matches = match options::parse(args) {
        Ok(matches) => matches,
        Err(dapr_flags::FlagError::Help) => {
            output::stderr(&usage());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            output::stderr(&format!("{error}\n{}\n", usage()));
            return ExitCode::from(USAGE);
        }
    };
    for warning in matches.warnings() {
        output::stderr(&format!("{warning}\n"));
    }
    let log = match options::log_settings(&matches).map(|s| install(&s)) {
        Ok(Ok(log)) => log,
        Ok(Err(error)) => return fatal_without_log(&error),
        Err(error) => return fatal_without_log(&error.to_string()),
    };
    match options::resolve(&matches, &|name| std::env::var(name).ok()) {
        Ok(Request::Help) => {
            output::stderr(&usage());
            ExitCode::SUCCESS
        }
        Ok(Request::Version) => {
            output::stdout(&format!("{VERSION}\n"));
            ExitCode::SUCCESS
        }
        Ok(Request::BuildInfo) => {
            output::stdout(&format!("Version: {VERSION}\nGit Commit: \nGit Version: \n"));
            ExitCode::SUCCESS
        }
        Ok(Request::Wait { http_port }) => wait::until_outbound_ready(http_port),
        Ok(Request::Run(options)) => start(*options, &log),
        Err(OptionsError::Flag(error)) => {
            output::stderr(&format!("{error}\n"));
            ExitCode::from(USAGE)
        }
        Err(OptionsError::Invalid(message)) => {
            ExitCode::from(log.fatal(SCOPE, &format!("Fatal error from runtime: {message}")))
        }
    }
}

fn usage() -> String {
    format!("Usage of daprd:\n{}", options::flag_set().usages())
}

fn fatal_without_log(message: &str) -> ExitCode {
    match LogOptions::new(VERSION).install() {
        Ok(log) => ExitCode::from(log.fatal(SCOPE, &message)),
        Err(_) => ExitCode::FAILURE,
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

fn start(options: Options, log: &LogHandle) -> ExitCode {
    log.set_app_id(options.identity.app_id());
    open_files::raise_limit();
    tracing::info!(target: SCOPE, "Starting Dapr Runtime -- version {VERSION} -- commit ");
    tracing::info!(target: SCOPE, "Log level set to: {}", options.log.level.as_str());
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(log.fatal(SCOPE, &format!("cannot start the runtime: {error}"))),
    };
    let code = runtime.block_on(supervise(options, log));
    // Whatever still runs was given its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// The runtime of everything but the connections on other workers.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// As many workers as CPUs are granted.
fn workers() -> std::io::Result<Workers> {
    Workers::start(std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs sidecars until one ends for good: a hang-up restarts in the process.
async fn supervise(options: Options, log: &LogHandle) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            return ExitCode::from(log.fatal(SCOPE, &format!("cannot listen for signals: {error}")));
        }
    };
    let workers = match workers() {
        Ok(workers) => workers,
        Err(error) => return ExitCode::from(log.fatal(SCOPE, &format!("cannot start the workers: {error}"))),
    };
    // A restart refuses nobody: the next sidecar gets the same sockets.
    let sockets = Sockets::default();
    loop {
        let sidecar = Sidecar::build(options.clone(), registry()).on(workers.clone()).with(sockets.clone());
        match run_once(sidecar, &sockets, &mut signals).await {
            Exit::Restart => {}
            Exit::Graceful => {
                tracing::info!(target: SCOPE, "Daprd shutdown gracefully");
                return ExitCode::SUCCESS;
            }
            Exit::Forced => {
                tokio::time::sleep(FORCE_DELAY).await;
                return ExitCode::FAILURE;
            }
            Exit::Failed(error) => {
                return ExitCode::from(log.fatal(SCOPE, &format!("Fatal error from runtime: {error}")));
            }
        }
    }
}

async fn run_once(sidecar: Sidecar, sockets: &Sockets, signals: &mut Signals) -> Exit {
    let stop = Shutdown::new();
    let running = sidecar.run(stop.clone());
    tokio::pin!(running);
    let restart = tokio::select! {
        exit = &mut running => {
            if exit == Exit::Restart {
                tracing::info!(target: "dapr.signals", "{HANGUP}");
            }
            return exit;
        }
        name = signals.next() => match name {
            "hangup" => {
                tracing::info!(target: "dapr.signals", "{HANGUP}");
                sockets.keep_for_next();
                true
            }
            name => {
                tracing::info!(target: "dapr.signals", "Received signal '{name}'; beginning shutdown");
                false
            }
        },
    };
    stop.trigger();
    loop {
        tokio::select! {
            exit = &mut running => {
                return match exit {
                    Exit::Graceful if restart => Exit::Restart,
                    // A restart was on its way when the end was asked for.
                    Exit::Restart if !restart => Exit::Graceful,
                    exit => exit,
                };
            }
            name = signals.next() => {
                if name != "hangup" {
                    tracing::info!(target: "dapr.signals", "Received signal '{name}' during shutdown; exiting immediately");
                    return Exit::Forced;
                }
            }
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next signal as the log shows it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "terminated",
            _ = self.interrupt.recv() => "interrupt",
            _ = self.hangup.recv() => "hangup",
        }
    }
}

/// Every component type of this build.
fn registry() -> Registry {
    let mut registry = Registry::default();
    dapr_components_all::register_all(&mut registry);
    registry
}
