//! `grpc_io_client_*` of calls to a gRPC application (runtime.md §9.2).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use dapr_errors::Code;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::client::{ClientError, H2Channel};
use dapr_transport::watched::{self, Counting};
use dapr_transport::{Body, grpc};
use http::{Request, Response, Uri};

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
        let call = Call { metrics, uri: request.uri().clone(), started: Instant::now(), sent: sent.clone() };
        let request = request.map(|body| Body::boxed(Counting::new(body, sent)));
        Box::pin(async move {
            match channel.send(request).await {
                Ok(response) => {
                    Ok(watched::until_end(response, move |code, received| call.end(code, received)))
                }
                Err(error) => {
                    call.end(Code::Unavailable as i32, 0);
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
}

impl Call {
    /// Messages count without the bytes that frame them.
    fn end(self, code: i32, received: u64) {
        let size = |bytes: u64| bytes.saturating_sub(grpc::PREFIX as u64);
        let received = if code == 0 { size(received) } else { 0 };
        let (sent, status) = (size(self.sent.load(Ordering::Relaxed)), Code::from_i32(code).name());
        self.metrics.grpc.called(self.uri.path(), status, sent, received, self.started.elapsed());
    }
}
