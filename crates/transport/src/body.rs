use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::BoxError;

mod received;

use received::Received;

/// What reading past a size limit says (api.md §1).
pub const TOO_LARGE: &str = "stream too large";

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("{TOO_LARGE}")]
    TooLarge,
    #[error("{0}")]
    Broken(BoxError),
}

impl BodyError {
    pub fn broken(reason: impl Into<BoxError>) -> Self {
        Self::Broken(reason.into())
    }
}

/// Counted, so that what is shared already needs no box.
type Guard = Arc<dyn Any + Send + Sync>;

type Boxed = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

enum Source {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Received(Received),
    Boxed(Boxed),
}

/// A message body of any origin, forwarded frame by frame.
///
/// It may carry a size limit and a guard: something that is dropped when the
/// body has been read to its end or is abandoned (a concurrency slot, a pooled
/// connection).
pub struct Body {
    source: Source,
    /// Bytes that may still come; `None` for no limit.
    remaining: Option<u64>,
    guard: Option<Guard>,
    /// An early end of the connection is the end of the body.
    forgiving: bool,
    /// The length is not to be announced.
    unsized_hint: bool,
}

impl Body {
    pub fn empty() -> Self {
        Self::from_source(Source::Empty)
    }

    pub fn from_incoming(body: Incoming) -> Self {
        Self::from_source(Source::Incoming(body))
    }

    /// What an HTTP/2 peer answers; `length` as its headers say it.
    pub(crate) fn received(stream: h2::RecvStream, length: Option<u64>) -> Self {
        Self::from_source(Source::Received(Received::new(stream, length)))
    }

    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::from_source(Source::Boxed(Box::pin(body.map_err(BodyError::broken))))
    }

    /// Frames from a stream of chunks.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: futures::Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        use futures::StreamExt;
        Self::boxed(http_body_util::StreamBody::new(
            stream.map(|chunk| chunk.map(Frame::data).map_err(Into::into)),
        ))
    }

    fn from_source(source: Source) -> Self {
        Self { source, remaining: None, guard: None, forgiving: false, unsized_hint: false }
    }

    /// Reading beyond `limit` bytes fails with [`BodyError::TooLarge`].
    #[must_use]
    pub fn limited(mut self, limit: Option<u64>) -> Self {
        self.remaining = limit;
        self
    }

    /// Takes a connection that ends before the announced length for the end of
    /// the body: applications announce lengths that they do not keep
    /// (api.md §5.1).
    #[must_use]
    pub fn forgiving(mut self) -> Self {
        self.forgiving = true;
        self
    }

    /// Hides the length from whoever sends the body on.
    #[must_use]
    pub fn without_length(mut self) -> Self {
        self.unsized_hint = true;
        self
    }

    /// Drops `guard` when the body has ended; several may be attached.
    #[must_use]
    pub fn guarded(self, guard: impl Any + Send + Sync) -> Self {
        if self.is_end_stream() { self } else { self.guarded_by(Arc::new(guard)) }
    }

    /// The same with a guard that is shared: only this share of it is dropped.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        if !self.is_end_stream() {
            self.guard = Some(match self.guard.take() {
                None => guard,
                Some(earlier) => Arc::new((guard, earlier)),
            });
        }
        self
    }

    /// The bytes, if they are all here already.
    pub fn as_full(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Exact length if known.
    pub fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Reads everything. Copies only when the body came in several frames.
    pub fn collect(self) -> impl Future<Output = Result<Bytes, BodyError>> + Send {
        // No async fn: its future would hold the body twice.
        let mut body = self;
        async move { body.read_all().await }
    }

    async fn read_all(&mut self) -> Result<Bytes, BodyError> {
        let mut first: Option<Bytes> = None;
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            match (&mut rest, &first) {
                (Some(rest), _) => rest.extend_from_slice(&data),
                (None, None) => first = Some(data),
                (None, Some(head)) => {
                    let expected = self.length().unwrap_or(0).min(MAX_RESERVE);
                    let capacity = head.len() + data.len() + usize::try_from(expected).unwrap_or(0);
                    let mut all = BytesMut::with_capacity(capacity);
                    all.extend_from_slice(head);
                    all.extend_from_slice(&data);
                    rest = Some(all);
                }
            }
        }
        Ok(rest.map(BytesMut::freeze).or(first).unwrap_or_default())
    }

    /// Reads and throws away at most `limit` bytes: a peer that is still sending
    /// should be able to read its answer.
    pub async fn drain(self, limit: u64) {
        let mut body = self.limited(Some(limit));
        while let Some(Ok(_)) = body.frame().await {}
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Full(_) => {
                let Source::Full(bytes) = std::mem::replace(&mut self.source, Source::Empty) else {
                    unreachable!("matched just above")
                };
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::broken),
            Source::Received(body) => body.poll_frame(cx).map_err(BodyError::broken),
            Source::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }
}

/// A peer's announced length is believed up to here when memory is reserved.
const MAX_RESERVE: u64 = 1 << 20;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut polled = std::task::ready!(this.poll_source(cx));
        if this.forgiving && matches!(polled, Some(Err(_))) {
            polled = None;
            this.source = Source::Empty;
        }
        if let (Some(Ok(frame)), Some(remaining)) = (&polled, &mut this.remaining) {
            let len = frame.data_ref().map_or(0, |d| d.len() as u64);
            match remaining.checked_sub(len) {
                Some(left) => *remaining = left,
                None => polled = Some(Err(BodyError::TooLarge)),
            }
        }
        if matches!(polled, None | Some(Err(_))) || this.is_end_stream() {
            this.guard = None;
        }
        if matches!(polled, Some(Err(_))) {
            this.source = Source::Empty;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Incoming(body) => body.is_end_stream(),
            Source::Received(body) => body.is_end_stream(),
            Source::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.unsized_hint && !self.is_end_stream() {
            return SizeHint::default();
        }
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(body) => body.size_hint(),
            Source::Received(body) => body.size_hint(),
            Source::Boxed(body) => body.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_source(Source::Full(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.source {
            Source::Empty => "empty",
            Source::Full(_) => "full",
            Source::Incoming(_) => "incoming",
            Source::Received(_) => "received",
            Source::Boxed(_) => "boxed",
        };
        f.debug_struct("Body").field("source", &kind).field("remaining", &self.remaining).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn chunks(parts: &[&'static str]) -> Body {
        let parts: Vec<Result<Bytes, BoxError>> =
            parts.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
        Body::from_stream(futures::stream::iter(parts))
    }

    #[tokio::test]
    async fn collect_joins_frames() {
        assert_eq!(chunks(&["a", "bc", "d"]).collect().await.unwrap(), "abcd");
        assert_eq!(Body::empty().collect().await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_limit_is_exact() {
        assert_eq!(chunks(&["ab", "c"]).limited(Some(3)).collect().await.unwrap(), "abc");
        let error = chunks(&["ab", "cd"]).limited(Some(3)).collect().await.unwrap_err();
        assert_eq!(error.to_string(), "stream too large");
    }

    #[tokio::test]
    async fn the_guard_goes_with_the_last_byte() {
        let token = Arc::new(());
        let mut body = chunks(&["a"]).guarded(token.clone());
        assert_eq!(Arc::strong_count(&token), 2);
        while body.frame().await.is_some() {}
        assert_eq!(Arc::strong_count(&token), 1);
        let body = Body::empty().guarded(token.clone());
        assert_eq!(Arc::strong_count(&token), 1, "an empty body holds nothing");
        drop(body);
    }
}
