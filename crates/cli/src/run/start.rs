//! Starting a sidecar and waiting for it; shared by both ways to run.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::config::RunConfig;
use super::prepare::wants_mtls;
use super::sidecar::Program;
use crate::http_client::{Endpoint, socket_path};
use crate::layout::errno_text;
use crate::say::Level;

/// How long each of the sidecar's listeners may take.
const LISTEN_LIMIT: Duration = Duration::from_secs(60);
const LISTEN_POLL: Duration = Duration::from_millis(50);

/// The signals that end a run.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The command line of the sidecar; output streams are up to the caller.
pub(super) fn sidecar_command(program: &Program, config: &RunConfig, log_as_json: bool) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(config.sidecar_args(wants_mtls(&config.shared.config_file), log_as_json))
        .stdin(Stdio::null());
    command
}

/// `fork/exec PATH: no such file or directory`.
pub(super) fn exec_error(path: &Path, error: &std::io::Error) -> String {
    format!("fork/exec {}: {}", path.display(), errno_text(error))
}

pub(super) fn starting(config: &RunConfig) -> String {
    let id = &config.app_id;
    if config.unix_domain_socket.is_empty() {
        return format!(
            "Starting Dapr with id {id}. HTTP Port: {}. gRPC Port: {}",
            config.http_port, config.grpc_port
        );
    }
    let socket = |kind| socket_path(&config.unix_domain_socket, id, kind);
    format!(
        "Starting Dapr with id {id}. HTTP Socket: {}. gRPC Socket: {}.",
        socket("http").display(),
        socket("grpc").display()
    )
}

/// Where the sidecar's HTTP API will be.
pub(super) fn http_endpoint(config: &RunConfig) -> Endpoint {
    endpoint(config, "http", config.http_port)
}

fn endpoint(config: &RunConfig, kind: &str, port: i64) -> Endpoint {
    match config.unix_domain_socket.as_str() {
        "" => Endpoint::Port(u16::try_from(port).unwrap_or_default()),
        folder => Endpoint::socket(folder, &config.app_id, kind),
    }
}

/// Waits until both APIs of the sidecar accept connections, and tells about it.
pub(super) async fn wait_for_sidecar(config: &RunConfig, tell: impl Fn(Level, String)) {
    let mut up = true;
    for (name, kind, port) in [("HTTP", "http", config.http_port), ("GRPC", "grpc", config.grpc_port)] {
        let endpoint = endpoint(config, kind, port);
        let place = match &endpoint {
            Endpoint::Port(port) => format!("{name} port {port}"),
            Endpoint::Socket(path) => format!("{name} socket {}", path.display()),
        };
        tell(Level::Info, format!("Checking if Dapr sidecar is listening on {place}"));
        if let Err(error) = connect(&endpoint).await {
            up = false;
            let place = place.split(' ').take(2).collect::<Vec<_>>().join(" ");
            tell(Level::Warning, format!("Dapr sidecar is not listening on {place}: {error}"));
        }
    }
    match up {
        true => tell(Level::Info, "Dapr sidecar is up and running.".to_owned()),
        false => tell(Level::Warning, "Dapr sidecar might not be responding.".to_owned()),
    }
}

async fn connect(endpoint: &Endpoint) -> std::io::Result<()> {
    let give_up = Instant::now() + LISTEN_LIMIT;
    loop {
        match endpoint.connect().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= give_up => return Err(error),
            Err(_) => sleep(LISTEN_POLL).await,
        }
    }
}
