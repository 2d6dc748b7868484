//! The processes a scenario consists of. Each is killed by its own id when its value is dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{http, machine};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of a sidecar's log shown when it fails, and characters of each.
const LOG_TAIL_LINES: usize = 4;
const LOG_LINE_LENGTH: usize = 300;

/// Ports nobody listens on at the moment of asking.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until the last is known, so that they differ.
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn process_id(child: &Child) -> anyhow::Result<u32> {
    child.id().context("the process ended at once")
}

pub struct Redis {
    pub port: u16,
    _child: Child,
}

impl Redis {
    /// Without persistence: the measured work is the sidecar's, not the disk's.
    pub async fn start(scratch: &Path) -> anyhow::Result<Self> {
        let folder = scratch.join("redis");
        std::fs::create_dir_all(&folder)?;
        let [port] = free_ports()?;
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start redis-server")?;
        let redis = Redis { port, _child: child };
        let deadline = Instant::now() + READY_TIMEOUT;
        while redis.command("PING").await.is_err() {
            anyhow::ensure!(Instant::now() < deadline, "redis-server does not answer on port {port}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    /// Empties it: no scenario meets the data of another.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.command("FLUSHALL").await
    }

    async fn command(&self, line: &str) -> anyhow::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        let mut stream =
            BufReader::new(tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?);
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        anyhow::ensure!(answer.starts_with('+'), "redis answered {answer:?} to {line}");
        Ok(())
    }
}

pub struct Echo {
    pub port: u16,
    _child: Child,
}

impl Echo {
    pub async fn start(program: &Path, subscription: Option<&str>) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        if let Some(subscription) = subscription {
            command.args(["--subscribe", subscription]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let port = line
            .trim()
            .parse()
            .with_context(|| format!("bench-echo printed {line:?} instead of its port"))?;
        Ok(Echo { port, _child: child })
    }
}

/// A certificate authority with keys of its own.
pub struct Sentry {
    port: u16,
    anchors: String,
    _child: Child,
}

impl Sentry {
    pub async fn start(program: &Path, scratch: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            program.is_file(),
            "{} is missing: build it or name another folder",
            program.display()
        );
        let [port, healthz_port] = free_ports()?;
        let (credentials, config) = (scratch.join("credentials"), scratch.join("sentry.yaml"));
        std::fs::create_dir_all(&credentials)?;
        std::fs::write(&config, "")?;
        let log = std::fs::File::create(scratch.join("sentry.log"))?;
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--listen-address", "127.0.0.1"])
            .args(["--healthz-port", &healthz_port.to_string(), "--enable-metrics=false"])
            .arg("--config")
            .arg(&config)
            .arg("--issuer-credentials")
            .arg(&credentials)
            .env_remove("NAMESPACE")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            // Written before it listens.
            let listens = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
            if listens && let Ok(anchors) = std::fs::read_to_string(credentials.join("ca.crt")) {
                return Ok(Sentry { port, anchors, _child: child });
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "sentry does not listen; {}",
                tail(&scratch.join("sentry.log"))
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The application of a sidecar.
#[derive(Clone, Copy)]
pub struct App {
    pub port: u16,
    /// As `--app-protocol` has it.
    pub protocol: &'static str,
}

impl App {
    pub fn http(port: u16) -> Self {
        App { port, protocol: "http" }
    }

    pub fn grpc(port: u16) -> Self {
        App { port, protocol: "grpc" }
    }
}

/// How to start a sidecar.
pub struct SidecarPlan<'a> {
    pub program: &'a Path,
    pub app_id: &'a str,
    pub app: Option<App>,
    /// Folder of component files.
    pub resources: Option<&'a Path>,
    pub configuration: Option<&'a Path>,
    /// Gives it an identity; plaintext without.
    pub sentry: Option<&'a Sentry>,
    /// Folder for its log and as its home.
    pub scratch: &'a Path,
}

pub struct Sidecar {
    pub http_port: u16,
    pub grpc_port: u16,
    /// From just before the program was executed to the first 204 of `/v1.0/healthz`.
    pub ready_after: Duration,
    pid: u32,
    log: PathBuf,
    _child: Child,
}

impl Sidecar {
    pub async fn start(plan: SidecarPlan<'_>) -> anyhow::Result<Self> {
        let [http_port, grpc_port, internal_port, metrics_port] = free_ports()?;
        let log = plan.scratch.join(format!("{}.log", plan.app_id));
        let log_file = std::fs::File::create(&log)?;
        let mut command = Command::new(plan.program);
        command
            .args(["--app-id", plan.app_id])
            .args(["--dapr-http-port", &http_port.to_string()])
            .args(["--dapr-grpc-port", &grpc_port.to_string()])
            .args(["--dapr-internal-grpc-port", &internal_port.to_string()])
            .args(["--metrics-port", &metrics_port.to_string()])
            .args(["--dapr-listen-addresses", "127.0.0.1"])
            .args(["--dapr-internal-grpc-listen-address", "127.0.0.1"])
            .args(["--metrics-listen-address", "127.0.0.1"]);
        if let Some(file) = plan.configuration {
            command.arg("--config").arg(file);
        }
        if let Some(app) = plan.app {
            command.args(["--app-port", &app.port.to_string(), "--app-protocol", app.protocol]);
        }
        if let Some(sentry) = plan.sentry {
            command
                .args(["--enable-mtls", "--sentry-address", &format!("127.0.0.1:{}", sentry.port)])
                .env("DAPR_TRUST_ANCHORS", &sentry.anchors);
        }
        if let Some(folder) = plan.resources {
            command.arg("--resources-path").arg(folder);
        }
        command
            .env("DAPR_HOST_IP", "127.0.0.1")
            .env("HOME", plan.scratch)
            .current_dir(plan.scratch)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {}", plan.program.display()))?;
        let pid = process_id(&child)?;
        let ready = tokio::task::spawn_blocking(move || {
            http::wait_for_status(http_port, "/v1.0/healthz", 204, started, READY_TIMEOUT)
        });
        let ready = tokio::select! {
            // Asked first: a sidecar that ended can still have answered.
            biased;
            ready = ready => ready?,
            status = child.wait() => status.map_err(anyhow::Error::from).and_then(|status| anyhow::bail!("it ended: {status}")),
        };
        let ready_after = ready.with_context(|| {
            format!("sidecar {} did not get ready; its log ends:\n{}", plan.app_id, tail(&log))
        })?;
        Ok(Sidecar { http_port, grpc_port, ready_after, pid, log, _child: child })
    }

    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        machine::cpu_time(self.pid).with_context(|| self.log_tail())
    }

    pub fn memory(&self) -> anyhow::Result<machine::Memory> {
        machine::memory(self.pid).with_context(|| self.log_tail())
    }

    pub fn log_tail(&self) -> String {
        format!("the sidecar's log ends:\n{}", tail(&self.log))
    }
}

/// The last complaints of a log, or its last lines where it has none.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let complaint = |line: &&str| line.contains("level=error") || line.contains("level=fatal");
    let mut lines: Vec<&str> = text.lines().filter(complaint).collect();
    if lines.is_empty() {
        lines = text.lines().collect();
    }
    let last = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].iter();
    last.map(|line| shorten(line, LOG_LINE_LENGTH)).collect::<Vec<_>>().join("\n")
}

pub fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Processor time of several sidecars together.
pub fn cpu_time(sidecars: &[&Sidecar]) -> anyhow::Result<Duration> {
    sidecars.iter().map(|sidecar| sidecar.cpu_time()).sum()
}
