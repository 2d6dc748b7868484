//! A Redis server of our own on a free loopback port.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};

const START_LIMIT: Duration = Duration::from_secs(20);

pub struct TestServer {
    folder: tempfile::TempDir,
    pub port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments of `redis-server`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            process: None,
        };
        server.restart().await;
        server
    }

    /// Starts the process again on the same port and folder.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(process);
        let begin = Instant::now();
        while !self.answers().await {
            assert!(begin.elapsed() < START_LIMIT, "redis-server does not answer on port {}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self) -> bool {
        let Ok(client) = redis::Client::open(self.url()) else { return false };
        let Ok(mut link) = client.get_multiplexed_async_connection().await else { return false };
        redis::cmd("PING").exec_async(&mut link).await.is_ok()
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Path of a file in the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command beside the component under test.
    pub async fn run(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut link = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut link).await.unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Context of a component whose metadata is `items`.
pub fn context(component_type: &str, items: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: component_type.into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).unwrap(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Waits until `done`, which is asked every few milliseconds.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
