//! `grpc_io_client_*` of calls to a gRPC application (runtime.md §9.2).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dapr_errors::Code;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::client::{ClientError, H2Channel};
use dapr_transport::{Body, BodyError, BoxError, grpc};
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// A channel whose unary calls are counted. Generated clients run on it.
#[derive(Clone, Debug)]
pub struct Measured {
    channel: H2Channel,
    metrics: Option<Arc<Catalogue>>,
}

impl Measured {
    pub(crate) fn new(channel: H2Channel, metrics: Option<Arc<Catalogue>>) -> Self {
        Self { channel, metrics }
    }
}

impl tower_service::Service<Request<tonic::body::Body>> for Measured {
    type Response = Response<Body>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let channel = self.channel.clone();
        let Some(metrics) = self.metrics.clone() else {
            return Box::pin(async move { channel.send(request.map(Body::boxed)).await });
        };
        let sent = Arc::new(AtomicU64::new(0));
        let call = Call {
            metrics,
            uri: request.uri().clone(),
            started: Instant::now(),
            sent: sent.clone(),
            received: 0,
        };
        let request = request.map(|body| Body::boxed(Sending { body, sent }));
        Box::pin(async move {
            match channel.send(request).await {
                Ok(response) => Ok(call.answered(response)),
                Err(error) => {
                    call.end(Code::Unavailable as i32);
                    Err(error)
                }
            }
        })
    }
}

struct Call {
    metrics: Arc<Catalogue>,
    /// Holds the method: sharing it costs less than copying that.
    uri: Uri,
    started: Instant,
    sent: Arc<AtomicU64>,
    received: u64,
}

impl Call {
    fn answered(self, response: Response<Body>) -> Response<Body> {
        if let Some((code, _)) = grpc::status_of(response.headers()) {
            self.end(code);
            return response;
        }
        response.map(|body| Body::boxed(Receiving { body, call: Some(self) }))
    }

    /// Messages count without the bytes that frame them.
    fn end(self, code: i32) {
        let size = |bytes: u64| bytes.saturating_sub(grpc::PREFIX as u64);
        let received = if code == 0 { size(self.received) } else { 0 };
        let (sent, status) = (size(self.sent.load(Ordering::Relaxed)), Code::from_i32(code).name());
        self.metrics.grpc.called(self.uri.path(), status, sent, received, self.started.elapsed());
    }
}

struct Sending {
    body: tonic::body::Body,
    sent: Arc<AtomicU64>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Records its call when it ends; one that is left before was cancelled.
struct Receiving {
    body: Body,
    call: Option<Call>,
}

impl HttpBody for Receiving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => {
                    let code = grpc::status_of(trailers).map_or(Code::Unknown as i32, |(code, _)| code);
                    self.finish(code);
                }
                None => {
                    if let (Some(call), Some(data)) = (&mut self.call, frame.data_ref()) {
                        call.received += data.len() as u64;
                    }
                }
            },
            Some(Err(_)) | None => self.finish(Code::Unknown as i32),
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Receiving {
    fn finish(&mut self, code: i32) {
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.finish(Code::Canceled as i32);
    }
}
