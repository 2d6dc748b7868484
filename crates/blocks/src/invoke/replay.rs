//! A request that can be sent again: its one message is kept (api.md §7.7).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dapr_transport::grpc::PREFIX;
use dapr_transport::{Body, BodyError};
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The body of a call whose attempts send the same message. Only the latest
/// attempt reads on; bodies of earlier ones fail.
pub(super) struct Replay {
    kept: Arc<Mutex<Kept>>,
    refused: Arc<Notify>,
}

struct Kept {
    incoming: Body,
    ended: bool,
    /// What came of the message so far.
    chunks: Vec<Bytes>,
    first: FirstMessage,
    /// Longest message that is kept, in bytes.
    limit: u64,
    /// Too long to be kept: sent once.
    oversized: bool,
    attempt: u32,
}

impl Replay {
    pub(super) fn new(incoming: Body, limit: u64) -> Self {
        let kept = Kept {
            incoming,
            ended: false,
            chunks: Vec::new(),
            first: FirstMessage::default(),
            limit,
            oversized: false,
            attempt: 0,
        };
        Self { kept: Arc::new(Mutex::new(kept)), refused: Arc::default() }
    }

    /// The body for one more attempt.
    pub(super) fn body(&self) -> Body {
        let mut kept = self.kept.lock();
        kept.attempt += 1;
        Body::boxed(Repeated {
            kept: self.kept.clone(),
            refused: self.refused.clone(),
            attempt: kept.attempt,
            next: 0,
        })
    }

    /// Whether another attempt could send what this one did.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.kept.lock().oversized
    }

    /// Waits for a second message.
    pub(super) async fn refused(&self) {
        self.refused.notified().await;
    }
}

struct Repeated {
    kept: Arc<Mutex<Kept>>,
    refused: Arc<Notify>,
    attempt: u32,
    /// Of the chunks, the one to be sent next.
    next: usize,
}

impl HttpBody for Repeated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let kept = &mut *this.kept.lock();
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::broken("another attempt is under way"))));
        }
        if let Some(chunk) = kept.chunks.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        loop {
            if kept.ended {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(Pin::new(&mut kept.incoming).poll_frame(cx)) else {
                kept.ended = true;
                continue;
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    kept.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            // Requests have no trailers in gRPC.
            let Ok(data) = frame.into_data() else { continue };
            if !kept.keep(&data) {
                this.refused.notify_one();
                return Poll::Ready(Some(Err(BodyError::broken("more than one message"))));
            }
            this.next = kept.chunks.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.lock();
        kept.attempt == self.attempt
            && self.next >= kept.chunks.len()
            && (kept.ended || kept.incoming.is_end_stream())
    }
}

impl Kept {
    /// False when `data` goes beyond the first message.
    fn keep(&mut self, data: &Bytes) -> bool {
        if !self.first.take(data) {
            return false;
        }
        self.oversized |= self.first.length().is_some_and(|length| length > self.limit);
        if self.oversized {
            self.chunks = Vec::new();
        } else {
            self.chunks.push(data.clone());
        }
        true
    }
}

/// How far a stream of messages has got within its first one.
#[derive(Default)]
struct FirstMessage {
    prefix: [u8; PREFIX],
    seen: u64,
}

impl FirstMessage {
    /// Length with its prefix, once that is known.
    fn length(&self) -> Option<u64> {
        let [_, a, b, c, d] = self.prefix;
        (self.seen >= PREFIX as u64).then(|| PREFIX as u64 + u64::from(u32::from_be_bytes([a, b, c, d])))
    }

    /// False when `data` goes beyond it.
    fn take(&mut self, data: &[u8]) -> bool {
        let at = usize::try_from(self.seen).map_or(PREFIX, |seen| seen.min(PREFIX));
        let head = data.len().min(PREFIX - at);
        self.prefix[at..at + head].copy_from_slice(&data[..head]);
        self.seen += data.len() as u64;
        self.length().is_none_or(|length| self.seen <= length)
    }
}

#[cfg(test)]
mod tests {
    use dapr_transport::{BoxError, grpc};
    use http_body_util::BodyExt;

    use super::*;

    fn chunks(parts: &[&[u8]]) -> Body {
        let parts: Vec<Result<Bytes, BoxError>> =
            parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        Body::from_stream(futures::stream::iter(parts))
    }

    #[tokio::test]
    async fn every_attempt_sends_the_message_wherever_the_one_before_stopped() {
        let wire = grpc::frame(&"hello".to_owned());
        for cut in 0..wire.len() {
            let (a, b) = wire.split_at(cut);
            let replay = Replay::new(chunks(&[a, b]), 1024);
            let mut early = replay.body();
            assert!(early.frame().await.unwrap().is_ok());
            let second = replay.body();
            assert!(early.frame().await.unwrap().is_err(), "only the latest attempt reads");
            assert_eq!(second.collect().await.unwrap(), wire);
            assert_eq!(replay.body().collect().await.unwrap(), wire);
            assert!(replay.is_repeatable());
        }
    }

    #[tokio::test]
    async fn a_second_message_is_refused() {
        let wire = [grpc::frame(&"one".to_owned()), grpc::frame(&"two".to_owned())].concat();
        for cut in 0..wire.len() {
            let (a, b) = wire.split_at(cut);
            let replay = Replay::new(chunks(&[a, b]), 1024);
            assert!(replay.body().collect().await.is_err(), "{cut}");
            replay.refused().await;
        }
    }

    #[tokio::test]
    async fn a_long_message_goes_once() {
        let wire = grpc::frame(&"x".repeat(100));
        let (a, b) = wire.split_at(50);
        let replay = Replay::new(chunks(&[a, b]), 100);
        assert_eq!(replay.body().collect().await.unwrap(), wire);
        assert!(!replay.is_repeatable());
    }
}
