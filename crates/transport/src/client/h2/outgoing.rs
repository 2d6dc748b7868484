use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::{Body, BodyError};

/// What is queued before the peer's window is asked for. A stream has no
/// window before its headers were written, so that a small message which
/// waited for it would leave in a packet of its own.
const EAGER: usize = 64 * 1024;

/// Sends a request's body. It ends when the body was handed over or the peer
/// wants no more of it, and fails only with an error of the body.
pub(super) struct Outgoing {
    body: Body,
    stream: SendStream<Bytes>,
    eager: usize,
    /// Waits for the peer's window.
    chunk: Option<Chunk>,
}

struct Chunk {
    data: Bytes,
    last: bool,
}

impl Outgoing {
    pub(super) fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, eager: EAGER, chunk: None }
    }

    /// Whether the stream takes no more.
    fn hand_over(&mut self, data: Bytes, last: bool) -> bool {
        self.stream.send_data(data, last).is_err() || last
    }

    /// Ready with false when the stream takes no more.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }
}

impl Future for Outgoing {
    type Output = Result<(), BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if this.chunk.is_some() {
                if !ready!(this.poll_window(cx)) {
                    return Poll::Ready(Ok(()));
                }
                if let Some(Chunk { data, last }) = this.chunk.take()
                    && this.hand_over(data, last)
                {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                // A peer that wants no more must not wait for the body's next frame.
                let reset = this.stream.poll_reset(cx).is_ready();
                return if reset { Poll::Ready(Ok(())) } else { Poll::Pending };
            };
            let Some(frame) = frame else {
                this.hand_over(Bytes::new(), true);
                return Poll::Ready(Ok(()));
            };
            match frame.map(http_body::Frame::into_data) {
                Err(error) => {
                    this.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(error));
                }
                Ok(Ok(data)) => {
                    let last = this.body.is_end_stream();
                    if data.len() <= this.eager {
                        this.eager -= data.len();
                        if this.hand_over(data, last) {
                            return Poll::Ready(Ok(()));
                        }
                    } else {
                        // The smallest claim: the rest follows from what is queued, and a body
                        // that waits must not keep the window from other streams.
                        this.eager = 0;
                        this.stream.reserve_capacity(1);
                        this.chunk = Some(Chunk { data, last });
                    }
                }
                Ok(Err(frame)) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = this.stream.send_trailers(trailers);
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}
