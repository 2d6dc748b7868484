use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::cork::Corks;
use crate::io::Io;

/// Moves the frames of one connection until it ends.
pub(super) struct Driver {
    connection: Connection<Io, Bytes>,
    corks: Corks,
    keepalive: Option<Keepalive>,
}

/// Why a connection ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the peer did not answer a ping")]
    Silent,
    #[error("{0}")]
    Http2(#[from] h2::Error),
}

impl Driver {
    /// `keepalive` is the silence after which the peer is asked for a sign of
    /// life, and the time it has for it.
    pub(super) fn new(
        mut connection: Connection<Io, Bytes>,
        corks: Corks,
        keepalive: Option<(Duration, Duration)>,
    ) -> Self {
        let keepalive = keepalive.and_then(|times| Some(Keepalive::new(connection.ping_pong()?, times)));
        Self { connection, corks, keepalive }
    }
}

impl Future for Driver {
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.connection).poll(cx);
        if polled.is_pending()
            && let Some(keepalive) = &mut this.keepalive
            && keepalive.poll(cx, this.corks.arrivals()).is_ready()
        {
            // Dropping the connection fails the streams on it.
            return Poll::Ready(Err(Broken::Silent));
        }
        this.corks.poll_flush(cx);
        polled.map_err(Broken::from)
    }
}

/// Pings on a silent connection. What comes in costs no timer operation.
struct Keepalive {
    pings: PingPong,
    interval: Duration,
    patience: Duration,
    asked: bool,
    /// Arrivals counted so far, and when the last was noticed.
    arrivals: u64,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Keepalive {
    fn new(pings: PingPong, (interval, patience): (Duration, Duration)) -> Self {
        let timer = Box::pin(tokio::time::sleep(interval));
        Self { pings, interval, patience, asked: false, arrivals: 0, last: Instant::now(), timer }
    }

    /// Ready when the peer must be taken for dead.
    fn poll(&mut self, cx: &mut Context<'_>, arrivals: u64) -> Poll<()> {
        if arrivals != self.arrivals {
            self.arrivals = arrivals;
            self.last = Instant::now();
        }
        if self.asked && self.pings.poll_pong(cx).is_ready() {
            self.asked = false;
            self.timer.as_mut().reset(self.last + self.interval);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let patience = if self.asked { self.patience } else { self.interval };
            if self.last.elapsed() < patience {
                self.timer.as_mut().reset(self.last + patience);
            } else if self.asked {
                return Poll::Ready(());
            } else {
                self.asked = self.pings.send_ping(Ping::opaque()).is_ok();
                self.timer.as_mut().reset(Instant::now() + self.patience);
                // The connection's next turn sends it.
                cx.waker().wake_by_ref();
            }
        }
    }
}
