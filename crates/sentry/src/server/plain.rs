//! Health and metrics (control-plane.md §1).

use dapr_kernel::health::Health;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::metrics::Metrics;

const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// `/healthz`, with any method.
pub struct HealthApi(pub Health);

impl Service for HealthApi {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        if request.uri().path() != "/healthz" {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let mut response = Response::new(Body::empty());
        if !self.0.is_ready() {
            tracing::debug!(target: crate::SCOPE, "targets are unhealthy: {:?}", self.0.unready());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

/// Metrics on every path.
pub struct MetricsApi(pub Metrics);

impl Service for MetricsApi {
    async fn call(&self, _: Request<Incoming>, _: Peer) -> Response<Body> {
        let mut response = Response::new(Body::from(self.0.render()));
        response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
        response
    }
}

pub fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
