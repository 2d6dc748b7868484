use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use tokio::process::Command;

use crate::{Client, Process, START_TIMEOUT, Scratch, eventually, free_port};

/// How a sidecar is started; everything not named here has its default.
#[derive(Clone, Default)]
pub struct Options {
    pub app_id: String,
    /// Port and protocol of the application.
    pub app: Option<(u16, String)>,
    pub resources: Option<PathBuf>,
    /// A Configuration file.
    pub config: Option<PathBuf>,
    /// Further flags, in `--name=value` form; they win over the harness's own.
    pub flags: Vec<String>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
}

impl Options {
    pub fn new(app_id: impl Into<String>) -> Self {
        Self { app_id: app_id.into(), ..Self::default() }
    }

    /// An HTTP application on `port`.
    pub fn app(self, port: u16) -> Self {
        self.app_with_protocol(port, "http")
    }

    pub fn app_with_protocol(mut self, port: u16, protocol: &str) -> Self {
        self.app = Some((port, protocol.into()));
        self
    }

    pub fn resources(mut self, folder: impl Into<PathBuf>) -> Self {
        self.resources = Some(folder.into());
        self
    }

    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }
}

/// A running `daprd`.
pub struct Sidecar {
    pub http_port: u16,
    pub grpc_port: u16,
    /// Its HTTP API.
    pub client: Client,
    pub process: Process,
}

impl Sidecar {
    /// Starts one and waits until it reports ready.
    pub async fn start(scratch: &Scratch, options: Options) -> Self {
        let mut sidecar = Self::spawn(scratch, options);
        sidecar.ready().await;
        sidecar
    }

    /// Starts one without waiting: for a sidecar that is to fail, or whose
    /// application comes up later.
    pub fn spawn(scratch: &Scratch, options: Options) -> Self {
        let (http_port, grpc_port) = (free_port(), free_port());
        let mut command = Command::new(daprd());
        command
            .arg(format!("--app-id={}", options.app_id))
            .arg(format!("--dapr-http-port={http_port}"))
            .arg(format!("--dapr-grpc-port={grpc_port}"))
            .arg(format!("--dapr-internal-grpc-port={}", free_port()))
            .arg(format!("--metrics-port={}", free_port()))
            .args(["--dapr-listen-addresses=127.0.0.1", "--dapr-internal-grpc-listen-address=127.0.0.1"])
            .arg("--metrics-listen-address=127.0.0.1");
        if let Some((port, protocol)) = &options.app {
            command.arg(format!("--app-port={port}")).arg(format!("--app-protocol={protocol}"));
        }
        if let Some(folder) = &options.resources {
            command.arg("--resources-path").arg(folder);
        }
        if let Some(file) = &options.config {
            command.arg("--config").arg(file);
        }
        command.args(&options.flags);
        // The address it announces to others: all peers of a test are on this machine.
        command.env("DAPR_HOST_IP", "127.0.0.1");
        // What a developer's shell may hold would change what a test means.
        for name in
            ["DAPR_API_TOKEN", "APP_API_TOKEN", "NAMESPACE", "DAPR_TRUST_ANCHORS", "DAPR_MAX_BODY_SIZE"]
        {
            command.env_remove(name);
        }
        command.envs(options.env.iter().map(|(name, value)| (name, value)));
        let log = scratch.path().join(format!("{}-{http_port}.log", options.app_id));
        let process = Process::start(&format!("daprd {}", options.app_id), command, &log);
        Self { http_port, grpc_port, client: Client::new(http_port), process }
    }

    /// Waits until the sidecar and its components are ready; panics with its
    /// log when it ended instead.
    pub async fn ready(&mut self) {
        let client = self.client.clone();
        let Self { process, .. } = self;
        eventually("daprd is ready", START_TIMEOUT, || {
            let client = client.clone();
            let ended = process.ended();
            let output = process.tail();
            async move {
                if let Some(status) = ended {
                    panic!("daprd ended ({status}) before it was ready:\n{output}");
                }
                match client.try_send(Method::GET, "/v1.0/healthz", &[], "").await {
                    Ok(answer) if answer.status == 204 => Ok(()),
                    Ok(answer) => Err(format!("{} {}\n{output}", answer.status, answer.text())),
                    Err(error) => Err(format!("{error:#}\n{output}")),
                }
            }
        })
        .await;
    }

    /// Waits for a sidecar that cannot start: its whole output. Panics if it
    /// ends with success.
    pub async fn failed(&mut self) -> String {
        let status = self.process.wait(START_TIMEOUT).await;
        let output = self.process.output();
        assert!(!status.success(), "daprd ended with success:\n{output}");
        output
    }

    /// Asks the sidecar to end; panics unless it does so cleanly.
    pub async fn stop(mut self) {
        let status = self.process.terminate(Duration::from_secs(60)).await;
        assert!(status.success(), "daprd ended with {status}:\n{}", self.process.tail());
    }
}

/// The program under test: `DAPRD_BIN`, else `daprd` in the folder of programs.
fn daprd() -> PathBuf {
    program("daprd", "DAPRD_BIN")
}

/// What `variable` names, else `name` in the folder `DAPR_TEST_BIN_DIR`, else
/// in this test's own target folder.
pub(crate) fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let folder = match std::env::var_os("DAPR_TEST_BIN_DIR") {
        Some(folder) => folder.into(),
        None => {
            let test = std::env::current_exe().expect("a test is a file");
            // target/debug/deps/test
            test.ancestors().nth(2).map(Path::to_path_buf).expect("a target folder")
        }
    };
    let path = folder.join(name);
    assert!(path.is_file(), "{} does not exist: build it first (cargo build -p {name})", path.display());
    path
}
