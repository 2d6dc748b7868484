//! A Redis server of our own.

use std::path::PathBuf;
use std::process::Command;

use dapr_conformance::server::ServerProcess;

pub struct TestServer {
    process: ServerProcess,
    pub port: u16,
    arguments: Vec<String>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments of `redis-server`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let process = ServerProcess::new("redis");
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut server = Self { port: process.port, process, arguments };
        server.restart().await;
        server
    }

    /// Starts the process again on the same port and folder.
    pub async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(self.process.folder())
            .args(&self.arguments);
        let url = self.url();
        self.process.run(command, async || answers(&url).await).await;
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.host())
    }

    pub fn host(&self) -> String {
        self.process.address()
    }

    /// Path of a file in the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.process.file(name)
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

async fn answers(url: &str) -> bool {
    let Ok(client) = redis::Client::open(url) else { return false };
    let Ok(mut link) = client.get_multiplexed_async_connection().await else { return false };
    redis::cmd("PING").exec_async(&mut link).await.is_ok()
}
