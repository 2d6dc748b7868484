//! gRPC calls that are followed to their end: how many bytes went each way,
//! and with which status they ended. The same on both sides of a call.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{Body, BodyError, grpc};

/// Of a call whose answer was not read to its end.
const CANCELED: i32 = 1;
/// Of an answer that ends without a status.
const UNKNOWN: i32 = 2;

/// A body that counts its bytes as they pass.
#[derive(Debug)]
pub struct Counting<B> {
    body: B,
    bytes: Arc<AtomicU64>,
}

impl<B> Counting<B> {
    /// Adds to `bytes`, frames' prefixes included.
    pub fn new(body: B, bytes: Arc<AtomicU64>) -> Self {
        Self { body, bytes }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Counting<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Calls `end` once with the number of the status and the bytes of the body:
/// at once when the answer is a status only, else when its body has ended or is
/// dropped before that.
pub fn until_end<E>(response: Response<Body>, end: E) -> Response<Body>
where
    E: FnOnce(i32, u64) + Send + Unpin + 'static,
{
    if let Some((code, _)) = grpc::status_of(response.headers()) {
        end(code, 0);
        return response;
    }
    response.map(|body| Body::boxed(Watched { body, bytes: 0, end: Some(end) }))
}

struct Watched<E: FnOnce(i32, u64)> {
    body: Body,
    bytes: u64,
    end: Option<E>,
}

impl<E: FnOnce(i32, u64) + Unpin> HttpBody for Watched<E> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.bytes += data.len() as u64,
                (None, Some(trailers)) => {
                    let code = grpc::status_of(trailers).map_or(UNKNOWN, |(code, _)| code);
                    self.finish(code);
                }
                (None, None) => {}
            },
            Some(Err(_)) | None => self.finish(UNKNOWN),
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<E: FnOnce(i32, u64)> Watched<E> {
    fn finish(&mut self, code: i32) {
        if let Some(end) = self.end.take() {
            end(code, self.bytes);
        }
    }
}

impl<E: FnOnce(i32, u64)> Drop for Watched<E> {
    fn drop(&mut self) {
        self.finish(CANCELED);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use parking_lot::Mutex;

    use super::*;

    fn answer(frames: Vec<Frame<Bytes>>) -> Response<Body> {
        let frames = frames.into_iter().map(Ok::<_, BodyError>);
        Response::new(Body::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames))))
    }

    fn watched(response: Response<Body>) -> (Response<Body>, Arc<Mutex<Vec<(i32, u64)>>>) {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let seen = ended.clone();
        (until_end(response, move |code, bytes| seen.lock().push((code, bytes))), ended)
    }

    async fn read(response: Response<Body>) {
        let mut body = response.into_body();
        while BodyExt::frame(&mut body).await.is_some() {}
    }

    #[tokio::test]
    async fn ends() {
        let data = || Frame::data(Bytes::from_static(b"123456"));
        let mut status = http::HeaderMap::new();
        status.insert("grpc-status", 5.into());
        let (whole, ended) = watched(answer(vec![data(), data(), Frame::trailers(status.clone())]));
        assert!(ended.lock().is_empty());
        read(whole).await;
        assert_eq!(*ended.lock(), [(5, 12)]);
        let (without, ended) = watched(answer(vec![data()]));
        read(without).await;
        assert_eq!(*ended.lock(), [(UNKNOWN, 6)]);
        let (left, ended) = watched(answer(vec![data()]));
        drop(left);
        assert_eq!(*ended.lock(), [(CANCELED, 0)]);
        let mut only = answer(Vec::new());
        *only.headers_mut() = status;
        assert_eq!(*watched(only).1.lock(), [(5, 0)]);
    }
}
