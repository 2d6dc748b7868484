//! Spans in Zipkin's JSON, version 2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::tls::ClientTls;
use dapr_telemetry::trace::{SpanData, SpanId, SpanKind};
use http::HeaderMap;
use serde::Serialize;

use crate::collector::{HttpPost, SendError};
use crate::endpoint::{EndpointError, Target};
use crate::otlp::SCOPE_NAME;
use crate::worker::Export;

/// Attributes that name the other side, the first that is there.
const PEER_NAMES: [&str; 3] = ["server.address", "net.peer.name", "db.name"];

pub struct Zipkin {
    post: HttpPost,
    resource: Vec<(String, String)>,
}

impl Zipkin {
    pub fn new(url: &str, resource: &[(String, String)], tasks: &TaskGroup) -> Result<Self, EndpointError> {
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            let reason = "it must begin with http:// or https://".to_owned();
            return Err(EndpointError::Url { url: url.to_owned(), reason });
        }
        let target = Target::new(url, secure, None, &ClientTls::default())?;
        let path = target.path.clone();
        let post = HttpPost::new(target, &path, HeaderMap::new(), tasks)?;
        Ok(Self { post, resource: resource.to_vec() })
    }
}

impl Export for Zipkin {
    fn name(&self) -> &'static str {
        "Zipkin"
    }

    async fn export(&self, spans: &[Arc<SpanData>]) -> Result<(), SendError> {
        let models: Vec<Model<'_>> = spans.iter().map(|span| model(span, &self.resource)).collect();
        let body = serde_json::to_vec(&models).map_err(|e| SendError::lasting(e.to_string()))?;
        match self.post.post("application/json", Bytes::from(body)).await? {
            200..300 => Ok(()),
            status @ 500.. => Err(SendError::passing(format!("it answered with status {status}"))),
            status => Err(SendError::lasting(format!("it answered with status {status}"))),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Model<'a> {
    timestamp: u64,
    duration: u64,
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    name: String,
    kind: &'static str,
    local_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint<'a>>,
    tags: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    service_name: &'a str,
}

fn model<'a>(span: &'a SpanData, resource: &'a [(String, String)]) -> Model<'a> {
    let mut tags: BTreeMap<&str, &str> = BTreeMap::new();
    tags.extend(span.attributes.iter());
    let remote = match span.kind {
        SpanKind::Server => None,
        SpanKind::Client | SpanKind::Producer => PEER_NAMES.iter().find_map(|name| tags.get(name).copied()),
    };
    tags.extend(resource.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    if let Some(error) = &span.error {
        tags.insert("otel.status_code", "ERROR");
        tags.insert("error", error);
    }
    tags.insert("otel.scope.name", SCOPE_NAME);
    let service = resource.iter().find(|(key, _)| key == "service.name").map_or("", |(_, name)| name);
    Model {
        timestamp: micros(span.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
        // Zero would read as unknown.
        duration: micros(span.end.duration_since(span.start).unwrap_or_default()).max(1),
        trace_id: span.context.trace_id.to_string(),
        id: span.context.span_id.to_string(),
        parent_id: (span.parent != SpanId::default()).then(|| span.parent.to_string()),
        name: span.name.to_lowercase(),
        kind: match span.kind {
            SpanKind::Client => "CLIENT",
            SpanKind::Server => "SERVER",
            SpanKind::Producer => "PRODUCER",
        },
        local_endpoint: Endpoint { service_name: service },
        remote_endpoint: remote.map(|service_name| Endpoint { service_name }),
        tags,
    }
}

/// Rounded.
fn micros(span: Duration) -> u64 {
    u64::try_from((span.as_nanos() + 500) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use dapr_telemetry::trace::TraceContext;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_span_reads_as_zipkin_wants_it() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let context =
            TraceContext::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                .unwrap();
        let span = SpanData {
            name: "CallLocal/b/Hello".to_owned(),
            parent: SpanId([0, 0, 0, 0, 0, 0, 0, 9]),
            context,
            start,
            end: start + Duration::from_nanos(1499),
            attributes: [("net.peer.name", "b")].into_iter().collect(),
            error: Some("Code(500): Internal Server Error".to_owned()),
            ..SpanData::default()
        };
        let resource = [("service.name".to_owned(), "a".to_owned())];
        assert_eq!(
            serde_json::to_value(model(&span, &resource)).unwrap(),
            json!({
                "timestamp": 1_000_000, "duration": 1, "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "id": "00f067aa0ba902b7", "parentId": "0000000000000009", "name": "calllocal/b/hello",
                "kind": "CLIENT", "localEndpoint": {"serviceName": "a"}, "remoteEndpoint": {"serviceName": "b"},
                "tags": {
                    "net.peer.name": "b", "service.name": "a", "otel.status_code": "ERROR",
                    "error": "Code(500): Internal Server Error", "otel.scope.name": "dapr-diagnostics",
                },
            })
        );
    }

    #[test]
    fn only_http_urls_will_do() {
        let tasks = TaskGroup::new(dapr_kernel::Shutdown::new());
        assert!(Zipkin::new("http://z:9411/api/v2/spans", &[], &tasks).is_ok());
        assert!(Zipkin::new("z:9411", &[], &tasks).is_err());
    }
}
