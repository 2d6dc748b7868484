//! One HTTP/1.1 request on a connection of its own: enough to prepare and to ask, never measured.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest wait for one answer; publishing at a fixed rate answers when the whole run is over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(900);

/// Pause between two questions for readiness: well below the shortest start measured.
const POLL_PAUSE: Duration = Duration::from_micros(200);

pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub async fn request(port: u16, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        // A server that answers without reading the body resets the connection behind its answer.
        match stream.read_to_end(&mut answer).await {
            Err(error) if answer.is_empty() => Err(error.into()),
            _ => anyhow::Ok(answer),
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange)
        .await
        .context("no answer")
        .flatten()
        .with_context(|| format!("{method} {path} on port {port}"))?;
    parse(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("{method} {path} on port {port}: no HTTP answer"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// Waits until `GET path` answers `status` and returns the time since `since`. Blocks a thread, because
/// an async timer's millisecond would be a tenth of what is measured.
pub fn wait_for_status(
    port: u16,
    path: &str,
    status: u16,
    since: Instant,
    limit: Duration,
) -> anyhow::Result<Duration> {
    let question = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    loop {
        if ask(port, &question).is_some_and(|answer| answer == status) {
            return Ok(since.elapsed());
        }
        anyhow::ensure!(
            since.elapsed() < limit,
            "{path} did not answer {status} within {} s",
            limit.as_secs()
        );
        #[expect(clippy::disallowed_methods, reason = "a blocking thread of its own, see above")]
        std::thread::sleep(POLL_PAUSE);
    }
}

fn ask(port: u16, question: &str) -> Option<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(question.as_bytes()).ok()?;
    // "HTTP/1.1 204"
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    std::str::from_utf8(&start[9..]).ok()?.parse().ok()
}
