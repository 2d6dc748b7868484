use std::path::PathBuf;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::free_port;
use crate::process::ServerProcess;

/// A Redis server; its data are gone with its process unless arguments say
/// otherwise.
pub struct Redis {
    process: ServerProcess,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments of `redis-server`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments).await
    }

    /// On a port that others know already.
    pub async fn start_on(port: u16, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut server = Self { process: ServerProcess::new("redis", port), arguments };
        server.restart().await;
        server
    }

    /// Starts the process again on the same port and folder.
    pub async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port().to_string()]);
        command.arg("--dir").arg(self.process.folder()).args(&self.arguments);
        let address = self.address();
        self.process.run(command, async |_| answers(&address).await).await;
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// `127.0.0.1:<port>`, which component metadata takes.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Path of a file in the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.process.file(name)
    }
}

async fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let mut answer = [0; 7];
    let asked = stream.write_all(b"PING\r\n").await;
    asked.is_ok() && stream.read_exact(&mut answer).await.is_ok() && &answer == b"+PONG\r\n"
}
