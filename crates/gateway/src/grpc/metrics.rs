//! `grpc_io_*` of the two gRPC servers (runtime.md §9.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dapr_errors::Code;
use dapr_telemetry::metrics::catalogue::{Catalogue, MessageKind};
use dapr_transport::watched::{self, Counting};
use dapr_transport::{Body, grpc};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;

/// Methods of our own service that are streams: these are not counted.
const STREAMS: [&str; 6] = [
    "SubscribeTopicEventsAlpha1",
    "SubscribeActorEventsAlpha1",
    "SubscribeConfigurationAlpha1",
    "SubscribeConfiguration",
    "EncryptAlpha1",
    "DecryptAlpha1",
];
/// Bytes that precede a message on the wire.
const FRAME_HEAD: u64 = grpc::PREFIX as u64;
/// Metadata that marks a proxied call as a stream.
const STREAM: &str = "dapr-stream";

/// As what a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unary,
    /// Proxied for the application.
    Served,
    /// Proxied for another sidecar: counted among the calls made.
    Called,
}

/// Marks the answer to a proxied call whose target was not reached. Of streams,
/// only these count as answers.
#[derive(Clone, Copy, Debug)]
pub struct Unreached;

fn status_number(code: i32) -> u16 {
    u16::try_from(code).unwrap_or(Code::Unknown as u16)
}

/// One call that is being served.
pub struct Served {
    metrics: Arc<Catalogue>,
    kind: Kind,
    /// Holds the method: sharing it costs less than copying that.
    uri: Uri,
    started: Instant,
    /// Whom a proxied call is for.
    target: Option<(String, MessageKind)>,
    received: Arc<AtomicU64>,
}

impl Served {
    /// A call of our own service; `None` when nothing is counted.
    pub fn unary(metrics: Option<&Arc<Catalogue>>, uri: &Uri) -> Option<Self> {
        let method = uri.path().rsplit('/').next().unwrap_or_default();
        let metrics = metrics.filter(|_| !STREAMS.contains(&method))?;
        Some(Self::new(metrics, Kind::Unary, uri))
    }

    /// A call that the application makes through the proxy. Only those that
    /// name their target with `dapr-app-id` are counted.
    pub fn proxied(metrics: Option<&Arc<Catalogue>>, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        Self::proxy(metrics, Kind::Served, uri, headers)
    }

    /// The same for a call that another sidecar passes on.
    pub fn passed_on(metrics: Option<&Arc<Catalogue>>, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        Self::proxy(metrics, Kind::Called, uri, headers)
    }

    fn proxy(metrics: Option<&Arc<Catalogue>>, kind: Kind, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let target = headers.get("dapr-app-id")?.to_str().ok()?;
        let metrics = metrics?;
        // Callers say whether it is a stream: the sidecar cannot know.
        let stream = headers.get(STREAM).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let message =
            if dapr_gocompat::bools::is_truthy(stream) { MessageKind::Streaming } else { MessageKind::Unary };
        metrics.invocation.request_sent(target, message);
        Some(Self { target: Some((target.to_owned(), message)), ..Self::new(metrics, kind, uri) })
    }

    fn new(metrics: &Arc<Catalogue>, kind: Kind, uri: &Uri) -> Self {
        Self {
            metrics: metrics.clone(),
            kind,
            uri: uri.clone(),
            started: Instant::now(),
            target: None,
            received: Arc::default(),
        }
    }

    /// Counts what the request brings.
    pub fn request(&self, request: Request<Incoming>) -> Request<Counting<Incoming>> {
        request.map(|body| Counting::new(body, self.received.clone()))
    }

    /// Records the call once its answer has ended.
    pub fn response(self, response: Response<Body>) -> Response<Body> {
        if let Some((target, MessageKind::Streaming)) = &self.target
            && response.extensions().get::<Unreached>().is_some()
            && let Some((code, _)) = grpc::status_of(response.headers())
        {
            self.metrics.invocation.stream_received(target, status_number(code));
        }
        watched::until_end(response, move |code, sent| self.end(code, sent))
    }

    fn end(self, code: i32, sent: u64) {
        let (method, status) = (self.uri.path(), Code::from_i32(code).name());
        let (grpc, elapsed) = (&self.metrics.grpc, self.started.elapsed());
        if let Some((target, MessageKind::Unary)) = &self.target {
            self.metrics.invocation.response_received(target, status_number(code), elapsed);
        }
        match self.kind {
            Kind::Unary => {
                let size = |bytes: u64| bytes.saturating_sub(FRAME_HEAD);
                let received = size(self.received.load(Ordering::Relaxed));
                let sent = if code == 0 { size(sent) } else { 0 };
                grpc.served(method, status, received, sent, elapsed);
            }
            Kind::Served => grpc.served_stream(method, status, elapsed),
            Kind::Called => grpc.called_stream(method, status, elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dapr_telemetry::metrics::catalogue::CatalogueOptions;
    use dapr_telemetry::metrics::{Registry, RegistryOptions};
    use dapr_transport::BodyError;
    use http::HeaderValue;
    use http_body::Frame;

    use super::*;

    fn catalogue() -> (Registry, Arc<Catalogue>) {
        let registry = Registry::new(RegistryOptions::default()).unwrap();
        let catalogue = Catalogue::new(&registry, &CatalogueOptions::default());
        (registry, Arc::new(catalogue))
    }

    fn trailers(code: i32) -> Body {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", HeaderValue::from(code));
        let frames =
            [Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"\0\0\0\0\x01x"))), Ok(Frame::trailers(map))];
        Body::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames)))
    }

    async fn drain(response: Response<Body>) {
        let mut body = response.into_body();
        while http_body_util::BodyExt::frame(&mut body).await.is_some() {}
    }

    #[tokio::test]
    async fn a_call_is_recorded_with_the_status_of_its_trailers() {
        let (registry, catalogue) = catalogue();
        let uri = Uri::from_static("/dapr.proto.runtime.v1.Dapr/GetState");
        let call = Served::unary(Some(&catalogue), &uri).unwrap();
        drain(call.response(Response::new(trailers(0)))).await;
        let call = Served::unary(Some(&catalogue), &uri).unwrap();
        drop(call.response(Response::new(trailers(0))));
        let text = registry.render();
        let method = "grpc_server_method=\"/dapr.proto.runtime.v1.Dapr/GetState\"";
        for line in [
            format!("dapr_grpc_io_server_completed_rpcs{{{method},grpc_server_status=\"OK\"}} 1"),
            format!("dapr_grpc_io_server_completed_rpcs{{{method},grpc_server_status=\"Canceled\"}} 1"),
            format!("dapr_grpc_io_server_sent_bytes_per_rpc_sum{{{method}}} 1"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }

    #[tokio::test]
    async fn a_proxied_call_is_an_invocation_of_its_target() {
        let (registry, catalogue) = catalogue();
        let uri = Uri::from_static("/helloworld.Greeter/SayHello");
        let headers = HeaderMap::from_iter([("dapr-app-id".parse().unwrap(), HeaderValue::from_static("b"))]);
        let call = Served::proxied(Some(&catalogue), &uri, &headers).unwrap();
        drain(call.response(Response::new(trailers(5)))).await;
        let text = registry.render();
        for line in [
            "dapr_runtime_service_invocation_req_sent_total{dst_app_id=\"b\",type=\"unary\"} 1",
            "dapr_runtime_service_invocation_res_recv_total{src_app_id=\"b\",status=\"5\",type=\"unary\"} 1",
            "grpc_server_method=\"/helloworld.Greeter/SayHello\",grpc_server_status=\"NotFound\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn streams_and_unnamed_targets_are_not_counted() {
        let (_, catalogue) = catalogue();
        let stream = Uri::from_static("/dapr.proto.runtime.v1.Dapr/SubscribeConfiguration");
        assert!(Served::unary(Some(&catalogue), &stream).is_none());
        assert!(Served::proxied(Some(&catalogue), &stream, &HeaderMap::new()).is_none());
        assert!(Served::unary(None, &Uri::from_static("/a/b")).is_none());
    }
}
