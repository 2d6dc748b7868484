use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::sidecar::program;
use crate::{Options, Process, START_TIMEOUT, Scratch, eventually, free_port};

/// A certificate authority; `SENTRY_BIN` names another program to test with.
pub struct Sentry {
    /// `host:port`.
    pub address: String,
    /// Where its anchors are once it runs.
    pub anchors: PathBuf,
    credentials: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

impl Sentry {
    /// Decides on port and folder; nothing runs yet.
    pub fn new(scratch: &Scratch) -> Self {
        let credentials = scratch.path().join("credentials");
        fs::create_dir_all(&credentials).expect("folder of credentials");
        Self {
            address: format!("127.0.0.1:{}", free_port()),
            anchors: credentials.join("ca.crt"),
            credentials,
            config: scratch.write("sentry.yaml", ""),
            log: scratch.path().join("sentry.log"),
        }
    }

    /// Starts it and waits until it has anchors.
    pub async fn ready(&self) -> Process {
        let process = self.start();
        eventually("the authority has anchors", START_TIMEOUT, || async {
            if self.anchors.is_file() { Ok(()) } else { Err("no file") }
        })
        .await;
        process
    }

    /// Gives the sidecar an identity of this authority.
    pub fn secure(&self, options: Options) -> Options {
        let options = options.flag("--enable-mtls").flag(format!("--sentry-address={}", self.address));
        // As text once there is one: only ours waits for a file.
        match fs::read_to_string(&self.anchors) {
            Ok(anchors) => options.env("DAPR_TRUST_ANCHORS", &anchors),
            Err(_) => options.env("DAPR_TRUST_ANCHORS_FILE", &self.anchors.display().to_string()),
        }
    }

    /// The folder of its keys and certificates.
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// Starts it, in the folder where it was before.
    pub fn start(&self) -> Process {
        let port = self.address.rsplit_once(':').map_or("", |(_, port)| port);
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut command = Command::new(program("sentry", "SENTRY_BIN"));
        command
            .arg(flag("issuer-credentials", &self.credentials))
            .arg(flag("config", &self.config))
            .arg(format!("--port={port}"))
            .arg(format!("--healthz-port={}", free_port()))
            .arg(format!("--metrics-port={}", free_port()))
            .args(["--listen-address=127.0.0.1", "--trust-domain=localhost"])
            .env_remove("NAMESPACE");
        Process::start("sentry", command, &self.log)
    }
}
