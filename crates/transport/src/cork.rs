//! Writes of one turn of a connection's task leave in one system call.
//!
//! The HTTP/2 library flushes after each larger DATA frame, so that the head,
//! the one message and the trailers of a small gRPC answer would leave in two
//! packets and wake the peer twice, which is most of what a call costs when
//! few are made (a wake-up, not parsing, is the price of a request). Here a
//! flush only takes note; what was written leaves when the connection's task
//! has nothing more to do at the moment, or when enough has come together: many
//! bytes, or several answers, so that a client with many requests in flight
//! works on the first while the others are made.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Io;

/// What is held back at most. More passes through uncopied.
const HELD: usize = 32 * 1024;
/// Answers that leave together when more are being made: few enough for the
/// peer to work on them meanwhile, enough to be worth waking it.
const TOGETHER: u32 = 8;
/// Buffers up to this size stay with an idle connection.
const KEPT: usize = 4 * 1024;
/// A reader with less room than this is served from a buffer of [`AHEAD`]
/// bytes, so that what has arrived takes one read.
const ROOMY: usize = 2 * 1024;
const AHEAD: usize = 8 * 1024;

/// A stream that holds back small writes. They leave when [`Corks::poll_flush`]
/// says so, and only then: whoever makes one has to [`uncork`] its task.
pub(crate) struct Corked(Arc<Mutex<Held>>);

/// The other end of a [`Corked`] stream. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Corks(Arc<Mutex<Held>>);

struct Held {
    stream: Io,
    out: BytesMut,
    /// Bytes of the last sending: what the next is likely to need.
    usual: usize,
    /// The stream has bytes that it may hold back itself, as TLS does.
    unflushed: bool,
    /// Answers begun since the last sending.
    answers: u32,
    /// Bytes that were read beyond what the reader had room for.
    ahead: BytesMut,
    /// Reads that brought something.
    arrivals: u64,
    /// A flush failed after the writer was told that all is well.
    broken: Option<io::ErrorKind>,
}

pub(crate) fn cork(stream: Io) -> (Io, Corks) {
    let (out, ahead) = (BytesMut::new(), BytesMut::new());
    let held = Held { stream, out, usual: 0, unflushed: false, answers: 0, ahead, arrivals: 0, broken: None };
    let held = Arc::new(Mutex::new(held));
    (Io::Corked(Corked(held.clone())), Corks(held))
}

impl Corks {
    /// Sends what was held back. An error is what the stream's next use says.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) {
        let mut held = self.0.lock();
        held.answers = 0;
        if (held.out.is_empty() && !held.unflushed) || held.broken.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = held.poll_send(cx) {
            held.broken = Some(error.kind());
            cx.waker().wake_by_ref();
        }
    }

    /// An answer is about to be written. Enough before it leave without waiting
    /// for it.
    pub(crate) fn begin_answer(&self) {
        let mut held = self.0.lock();
        if held.answers >= TOGETHER {
            held.answers = 0;
            // The end of the turn sees to the rest, and to what went wrong.
            let _ = held.poll_send(&mut Context::from_waker(Waker::noop()));
        }
        held.answers += 1;
    }

    /// Counts reads that brought something: whether the peer is alive.
    pub(crate) fn arrivals(&self) -> u64 {
        self.0.lock().arrivals
    }
}

/// Drives a connection on a stream that may be corked: what one turn wrote
/// leaves at its end.
pub(crate) async fn uncork<F: Future>(corks: Option<Corks>, connection: F) -> F::Output {
    let mut connection = std::pin::pin!(connection);
    std::future::poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        if let Some(corks) = &corks {
            corks.poll_flush(cx);
        }
        polled
    })
    .await
}

impl Held {
    fn check(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.usual = self.out.len();
        while !self.out.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            match sent == self.out.len() {
                true => self.out.clear(),
                false => self.out.advance(sent),
            }
        }
        if self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        let size: usize = data.iter().map(|slice| slice.len()).sum();
        if self.out.len() + size > HELD {
            return self.poll_through(cx, data);
        }
        if self.out.capacity() == 0 {
            self.out.reserve(self.usual.max(size).max(KEPT));
        }
        data.iter().for_each(|slice| self.out.extend_from_slice(slice));
        Poll::Ready(Ok(size))
    }

    /// Writes `data` together with what is held back before it.
    fn poll_through(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        while !self.out.is_empty() {
            let all: Vec<IoSlice<'_>> =
                std::iter::once(IoSlice::new(&self.out)).chain(data.iter().copied()).collect();
            let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let held = self.out.len().min(sent);
            self.out.advance(held);
            if sent > held {
                return Poll::Ready(Ok(sent - held));
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if self.ahead.is_empty() {
            if buf.remaining() >= ROOMY {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
                self.arrivals += u64::from(buf.filled().len() > before);
                return Poll::Ready(Ok(()));
            }
            self.ahead = BytesMut::zeroed(AHEAD);
            let mut all = ReadBuf::new(&mut self.ahead);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut all);
            let read = if matches!(polled, Poll::Ready(Ok(()))) { all.filled().len() } else { 0 };
            self.ahead.truncate(read);
            if read == 0 {
                self.ahead = BytesMut::new();
            }
            ready!(polled)?;
            self.arrivals += u64::from(read > 0);
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..taken]);
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, buf)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Takes note only: the end of the turn flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.check()?;
        ready!(held.poll_send(cx))?;
        Pin::new(&mut held.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
