use std::time::Duration;

use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, process::Command};

use crate::{Process, START_TIMEOUT, Scratch, eventually, free_port};

/// A Redis server of its own, empty, with its files in the scratch folder.
pub struct Redis {
    pub port: u16,
    process: Process,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub async fn start(scratch: &Scratch) -> Self {
        Self::start_on(scratch, free_port()).await
    }

    /// Starts one on a port that others know already.
    pub async fn start_on(scratch: &Scratch, port: u16) -> Self {
        let folder = scratch.path().join(format!("redis-{port}"));
        std::fs::create_dir_all(&folder).expect("folder");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&folder);
        let process = Process::start("redis-server", command, &folder.join("log"));
        let redis = Self { port, process };
        eventually("Redis answers", START_TIMEOUT, || redis.ping()).await;
        redis
    }

    /// The address component metadata takes.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the server; all its data is gone.
    pub async fn stop(mut self) {
        self.process.terminate(Duration::from_secs(30)).await;
    }

    async fn ping(&self) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        anyhow::ensure!(&answer == b"+PONG\r\n", "answered {answer:?}");
        Ok(())
    }
}
