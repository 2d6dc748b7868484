use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use parking_lot::Mutex;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::{FakeApp, eventually, respond};

/// Spans leave a sidecar in batches.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// A span as it arrived, whichever protocol brought it.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for the first of a trace.
    pub parent: String,
    pub service: String,
    pub name: String,
    /// `CLIENT`, `SERVER` or `PRODUCER`.
    pub kind: String,
    /// Sorted; the status as `error`.
    pub attributes: Vec<(String, String)>,
}

/// Takes spans like a collector would, over OTLP/gRPC or as Zipkin.
pub struct Collector {
    pub port: u16,
    received: Arc<Received>,
    _serving: JoinSet<()>,
    _zipkin: Option<FakeApp>,
}

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    metrics: Mutex<Vec<String>>,
    headers: Mutex<HeaderMap>,
}

impl Collector {
    /// OTLP over gRPC.
    pub async fn otlp() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("free port");
        let port = listener.local_addr().expect("bound").port();
        let received = Arc::<Received>::default();
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, received.clone()));
        Self { port, received, _serving: serving, _zipkin: None }
    }

    /// Zipkin's `/api/v2/spans`.
    pub async fn zipkin() -> Self {
        let received = Arc::<Received>::default();
        let into = received.clone();
        let app = FakeApp::start(move |request| {
            let spans: Vec<Value> = serde_json::from_slice(request.body()).expect("a list of spans");
            into.spans.lock().extend(spans.iter().map(from_zipkin));
            async { respond(202, "") }
        })
        .await;
        Self { port: app.port, received, _serving: JoinSet::new(), _zipkin: Some(app) }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().clone()
    }

    /// Names of the metrics that arrived.
    pub fn metrics(&self) -> Vec<String> {
        self.received.metrics.lock().clone()
    }

    /// Metadata of the last request.
    pub fn headers(&self) -> HeaderMap {
        self.received.headers.lock().clone()
    }

    /// The tree of a trace once it has `count` spans: one line for each,
    /// indented below its parent, with service, kind, name and attributes.
    pub async fn tree(&self, trace: &str, count: usize) -> Vec<String> {
        let spans = eventually("the trace arrives", EXPORT_TIMEOUT, || async {
            let spans: Vec<Span> = self.spans().into_iter().filter(|s| s.trace == trace).collect();
            if spans.len() >= count {
                Ok(spans)
            } else {
                Err(format!("only {:?} of {:?}", spans, self.spans()))
            }
        })
        .await;
        let mut lines = Vec::new();
        let roots = spans.iter().filter(|s| !spans.iter().any(|other| other.id == s.parent));
        roots.for_each(|root| push(&mut lines, root, &spans, 0));
        lines
    }
}

fn push(lines: &mut Vec<String>, span: &Span, all: &[Span], depth: usize) {
    let attributes: Vec<String> = span.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}{} {} {} [{}]", span.service, span.kind, span.name, attributes.join(", ")));
    all.iter().filter(|s| s.parent == span.id).for_each(|child| push(lines, child, all, depth + 1));
}

/// Ports of callers are not the same twice.
fn tidy(mut attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    for (key, value) in &mut attributes {
        if key == "server.port" {
            assert!(value.parse::<u16>().is_ok(), "{value} is no port");
            "PORT".clone_into(value);
        }
    }
    attributes.sort();
    attributes
}

fn from_zipkin(span: &Value) -> Span {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let own = ["service.name", "otel.scope.name", "otel.status_code"];
    let tags = span["tags"].as_object().into_iter().flatten();
    let tags = tags.filter(|(k, _)| !own.contains(&k.as_str())).map(|(k, v)| (k.clone(), text(v)));
    Span {
        trace: text(&span["traceId"]),
        id: text(&span["id"]),
        parent: text(&span["parentId"]),
        service: text(&span["localEndpoint"]["serviceName"]),
        name: text(&span["name"]),
        kind: text(&span["kind"]),
        attributes: tidy(tags.collect()),
    }
}

async fn accept(listener: TcpListener, received: Arc<Received>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let received = received.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, received.clone()));
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Grpc = Response<StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>;

async fn answer(request: Request<Incoming>, received: Arc<Received>) -> Result<Grpc, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let message = body.slice(5..);
    match parts.uri.path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            let request = ExportTraceServiceRequest::decode(message).expect("a trace request");
            received.spans.lock().extend(from_otlp(request));
        }
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            let request = ExportMetricsServiceRequest::decode(message).expect("a metrics request");
            let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
            received.metrics.lock().extend(scopes.flat_map(|s| s.metrics).map(|m| m.name));
        }
        path => panic!("nobody calls {path}"),
    }
    *received.headers.lock() = parts.headers;
    let mut empty = BytesMut::new();
    empty.put_bytes(0, 5);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = vec![Ok(Frame::data(empty.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn from_otlp(request: ExportTraceServiceRequest) -> Vec<Span> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{} is not text: {other:?}", pair.key),
    };
    let mut out = Vec::new();
    for resource in request.resource_spans {
        assert_eq!(resource.schema_url, "https://opentelemetry.io/schemas/1.25.0");
        let attributes = resource.resource.unwrap_or_default().attributes;
        let service = attributes.iter().find(|a| a.key == "service.name").map(text).unwrap_or_default();
        for scope in resource.scope_spans {
            assert_eq!(scope.scope.unwrap_or_default().name, "dapr-diagnostics");
            for span in scope.spans {
                let mut attributes: Vec<_> =
                    span.attributes.iter().map(|a| (a.key.clone(), text(a))).collect();
                if let Some(status) = span.status.filter(|s| s.code == 2) {
                    attributes.push(("error".to_owned(), status.message));
                }
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
                out.push(Span {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    service: service.clone(),
                    name: span.name,
                    kind: ["", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"][span.kind as usize]
                        .to_owned(),
                    attributes: tidy(attributes),
                });
            }
        }
    }
    out
}

/// One unary gRPC call with an encoded message; its headers and `grpc-status`.
pub async fn call_grpc(
    port: u16,
    path: &str,
    metadata: &[(&str, &str)],
    message: &[u8],
) -> (HeaderMap, String) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a gRPC server");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let mut serving = JoinSet::new();
    serving.spawn(connection);
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("small"));
    framed.put_slice(message);
    let mut request = Request::post(format!("http://127.0.0.1:{port}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(framed.freeze())).expect("a request");
    let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let trailers = body.collect().await.expect("a whole answer").trailers().cloned().unwrap_or_default();
    let status = parts.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    let status = status.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (parts.headers, status)
}
