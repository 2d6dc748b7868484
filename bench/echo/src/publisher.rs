//! Publishes through a sidecar at a fixed rate whatever the answers take (an open loop), so that a stall
//! shows in the latencies of all messages that were due meanwhile.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::deliveries::{SENT_MEMBER, now_ns};

/// Connections to the sidecar; with all of them waiting the schedule falls behind and the delay counts.
const CONNECTIONS: usize = 16;
/// Bytes of filler beside the time stamp: about 1 KB a message.
const FILLER: usize = 1_000;

pub struct Published {
    sent: u64,
    failed: u64,
}

impl Published {
    pub fn to_json(&self) -> String {
        format!(r#"{{"sent":{},"failed":{}}}"#, self.sent, self.failed)
    }
}

struct Schedule {
    start: Instant,
    interval: Duration,
    total: u32,
    next: Cell<u32>,
    failed: Cell<u64>,
}

/// `order` is `PORT PATH RATE SECONDS`: the sidecar's HTTP port, the path to publish to, messages a second.
pub async fn run(order: &str) -> anyhow::Result<Published> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let [port, path, rate, seconds] = words[..] else {
        anyhow::bail!("expected PORT PATH RATE SECONDS, got {order:?}");
    };
    let (port, rate, seconds): (u16, u32, u32) = (port.parse()?, rate.parse()?, seconds.parse()?);
    anyhow::ensure!(rate > 0, "the rate must be positive");
    let schedule = Rc::new(Schedule {
        start: Instant::now(),
        interval: Duration::from_secs(1) / rate,
        total: rate * seconds,
        next: Cell::new(0),
        failed: Cell::new(0),
    });
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn_local(work(schedule.clone(), port, path.to_owned()));
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(Published { sent: u64::from(schedule.total), failed: schedule.failed.get() })
}

async fn work(schedule: Rc<Schedule>, port: u16, path: String) -> anyhow::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.context("connect to the sidecar")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let publishing = async {
        while schedule.next.get() < schedule.total {
            let turn = schedule.next.replace(schedule.next.get() + 1);
            let sent_ns = schedule.wait_for(turn).await;
            if !publish(&mut sender, &path, sent_ns).await? {
                schedule.failed.set(schedule.failed.get() + 1);
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        published = publishing => published,
        ended = connection => {
            ended?;
            anyhow::bail!("the sidecar closed the connection")
        }
    }
}

impl Schedule {
    /// Waits until message `turn` is due and returns the time its latency counts from: the time it was due
    /// where the publisher is late, the time of waking where it was not, since the timer's millisecond is
    /// not the sidecar's.
    async fn wait_for(&self, turn: u32) -> u64 {
        let due = self.start + self.interval * turn;
        let late = due.elapsed();
        if late.is_zero() {
            tokio::time::sleep_until(due.into()).await;
            return now_ns();
        }
        now_ns() - u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)
    }
}

async fn publish(sender: &mut SendRequest<Full<Bytes>>, path: &str, sent_ns: u64) -> anyhow::Result<bool> {
    let filler = "x".repeat(FILLER);
    let body = format!(r#"{{{SENT_MEMBER}{sent_ns}","filler":"{filler}"}}"#);
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let accepted = response.status().is_success();
    response.into_body().collect().await?;
    Ok(accepted)
}
