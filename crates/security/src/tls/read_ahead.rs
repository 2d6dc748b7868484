//! Large reads below TLS. rustls takes at most 4 KiB from its stream at a
//! time, a quarter of a record: a body of a megabyte would cost some 260
//! system calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two records.
const AHEAD: usize = 32 * 1024;

/// Reads ahead once a read filled all the room it was given. A connection that
/// waits, or carries small messages, has no buffer.
#[derive(Debug)]
pub(crate) struct ReadAhead<IO> {
    stream: IO,
    /// What was read and not yet taken starts at `taken`.
    ahead: Vec<u8>,
    taken: usize,
    bulk: bool,
}

impl<IO> ReadAhead<IO> {
    pub fn new(stream: IO) -> Self {
        Self { stream, ahead: Vec::new(), taken: 0, bulk: false }
    }

    pub fn get_ref(&self) -> &IO {
        &self.stream
    }
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.resize(AHEAD, 0);
        let mut room = ReadBuf::new(&mut self.ahead);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let read = if matches!(polled, Poll::Ready(Ok(()))) { room.filled().len() } else { 0 };
        (self.taken, self.bulk) = (0, read > 0);
        if read > 0 {
            self.ahead.truncate(read);
        } else {
            self.ahead = Vec::new();
        }
        polled
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.ahead.len() {
            if !this.bulk {
                let before = buf.remaining();
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.bulk = before > 0 && buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
        }
        let rest = &this.ahead[this.taken..];
        let part = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..part]);
        this.taken += part;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ROOM: usize = 4096;

    async fn read_in_pieces(sent: Vec<u8>) -> (Vec<u8>, ReadAhead<tokio::io::DuplexStream>) {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let size = sent.len();
        ours.write_all(&sent).await.unwrap();
        let mut stream = ReadAhead::new(theirs);
        let (mut received, mut room) = (Vec::new(), [0; ROOM]);
        while received.len() < size {
            let read = stream.read(&mut room).await.unwrap();
            received.extend_from_slice(&room[..read]);
        }
        let waits = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read(&mut room)).await;
        assert!(waits.is_err());
        drop(ours);
        assert_eq!(stream.read(&mut room).await.unwrap(), 0, "the end");
        (received, stream)
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_a_waiting_connection_has_no_buffer() {
        for size in [1, ROOM - 1, ROOM, ROOM + 1, AHEAD, AHEAD + ROOM, AHEAD + ROOM + 1, 300_001] {
            let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let (received, stream) = read_in_pieces(sent.clone()).await;
            assert!(received == sent, "{size}");
            assert_eq!(stream.ahead.capacity(), 0, "{size}");
        }
    }
}
