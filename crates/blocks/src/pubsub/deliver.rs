//! Delivery of one event to the application (api.md §5.5).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use dapr_app_channel::{AppChannel, Origin, Status};
use dapr_errors::Code;
use dapr_resiliency::{Outcome, StatusCode};
use dapr_telemetry::trace::Span;
use dapr_transport::Body;
use dapr_wire::runtime::v1 as rt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use super::cloudevent;
use super::handler::Postman;
use super::ingress::{SUCCESS, attempted};
use super::service::PubSubService;
use super::spans;

const SCOPE: &str = "dapr.runtime.pubsub";
/// Marks an event whose data is the message's bytes and not an attribute.
pub(super) const BINARY_DATA: &str = "\u{0}binary";

/// An event on its way to a subscriber.
#[derive(Clone, Debug)]
pub struct Event {
    pub attributes: Map<String, Value>,
    /// What an HTTP subscriber is sent.
    pub data: Bytes,
    pub topic: String,
    pub pubsub: Arc<str>,
    pub path: String,
    pub metadata: HashMap<String, String>,
}

impl Event {
    pub fn id(&self) -> &str {
        self.attributes.get("id").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Why a subscriber did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The subscriber wants no more of it.
    #[error("pubsub message dropped")]
    Dropped,
    /// The subscriber has nothing at the path: dropped, too.
    #[error("pubsub message dropped")]
    NoRoute,
    /// The subscriber does not have the callback at all.
    #[error("the application does not take events")]
    Unserved,
    #[error("{message}")]
    Retry { message: String, status: Option<StatusCode> },
}

impl DeliveryError {
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), status: None }
    }
}

impl Outcome for DeliveryError {
    fn retriable(&self) -> bool {
        matches!(self, Self::Retry { .. })
    }

    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Retry { status, .. } => *status,
            Self::Dropped | Self::NoRoute | Self::Unserved => None,
        }
    }
}

/// Delivers through the application channel.
pub(super) struct AppPostman {
    pub service: PubSubService,
}

impl AppPostman {
    pub(super) fn channel(&self) -> Result<Arc<AppChannel>, DeliveryError> {
        self.service.0.app.load_full().ok_or_else(|| DeliveryError::retry("app channel is not initialized"))
    }
}

#[async_trait]
impl Postman for AppPostman {
    fn needs_event(&self) -> bool {
        self.service.0.app.load().as_ref().is_some_and(|c| c.grpc().is_some())
    }

    async fn deliver(&self, event: &Event) -> Result<(), DeliveryError> {
        let channel = self.channel()?;
        let started = self.service.metrics().map(|metrics| (metrics, Instant::now()));
        let mut span = spans::delivery(&self.service.0.options.tracer, &event.attributes, &event.topic);
        let headers = headers(event, &span);
        let outcome = match channel.grpc() {
            Some(_) => over_grpc(&channel, event, &headers).await,
            None => over_http(&channel, event, headers).await,
        };
        spans::judge(&mut span, &outcome);
        drop(span);
        if let Some((metrics, started)) = started {
            attempted(metrics, event, &outcome, Some(SUCCESS), started);
        }
        match outcome {
            Err(DeliveryError::Unserved) => Ok(()),
            outcome => outcome,
        }
    }
}

async fn over_http(channel: &AppChannel, event: &Event, headers: HeaderMap) -> Result<(), DeliveryError> {
    let request = dapr_app_channel::InvokeRequest {
        method: event.path.trim_start_matches('/').to_owned(),
        verb: Method::POST,
        query: String::new(),
        headers,
        content_type: Some(HeaderValue::from_static(cloudevent::CONTENT_TYPE)),
        type_url: String::new(),
        origin: Origin::Http,
        body: Body::from(event.data.clone()),
    };
    let response = channel.invoke(request).await.map_err(|error| {
        DeliveryError::retry(format!(
            "error returned from app channel while sending pub/sub event to app: {error}"
        ))
    })?;
    let Status::Http(status) = response.status else {
        return Err(DeliveryError::retry("the application did not answer over HTTP"));
    };
    let body = response.body.collect().await.unwrap_or_default();
    judge_http(status, &body, event)
}

/// Message metadata travels as headers; the length is the body's own.
fn headers(event: &Event, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(event.metadata.len() + 1);
    for (key, value) in &event.metadata {
        if key.eq_ignore_ascii_case("content-length") {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(key.as_str()), HeaderValue::try_from(value.as_str()))
        {
            headers.insert(name, value);
        }
    }
    let parent = spans::traceparent(&event.attributes).filter(|p| !p.is_empty());
    if let Some(Ok(value)) = parent.map(HeaderValue::try_from) {
        headers.insert("traceparent", value);
    }
    span.write_http(&mut headers);
    headers
}

fn judge_http(status: u16, body: &[u8], event: &Event) -> Result<(), DeliveryError> {
    let id = event.id();
    if (200..300).contains(&status) {
        #[derive(serde::Deserialize)]
        struct Answer {
            #[serde(default, alias = "Status")]
            status: Option<String>,
        }
        // Whatever cannot be read counts as success.
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return Ok(()) };
        return match answer.status.as_deref() {
            None | Some("" | "SUCCESS") => Ok(()),
            Some("RETRY") => Err(DeliveryError::retry(format!(
                "RETRY status returned from app while processing pub/sub event {id}"
            ))),
            Some("DROP") => {
                tracing::warn!(target: SCOPE, "DROP status returned from app while processing pub/sub event {id}");
                Err(DeliveryError::Dropped)
            }
            Some(other) => Err(DeliveryError::retry(format!(
                "unknown status returned from app while processing pub/sub event {id}, status: {other}"
            ))),
        };
    }
    let text = String::from_utf8_lossy(body);
    if status == 404 {
        tracing::error!(target: SCOPE, "non-retriable error returned from app while processing pub/sub event {id}: {text}. status code returned: {status}");
        return Err(DeliveryError::NoRoute);
    }
    Err(DeliveryError::Retry {
        message: format!(
            "retriable error returned from app while processing pub/sub event {id}, topic: {}, body: {text}. status code returned: {status}",
            event.topic
        ),
        status: Some(StatusCode::http(status)),
    })
}

async fn over_grpc(channel: &AppChannel, event: &Event, headers: &HeaderMap) -> Result<(), DeliveryError> {
    let Some(grpc) = channel.grpc() else {
        return Err(DeliveryError::retry("app channel is not initialized"));
    };
    if !channel.health().takes_calls() {
        return Err(DeliveryError::retry("app is not in a healthy state"));
    }
    let _slot = channel.slot().await;
    let mut request = tonic::Request::new(to_grpc(event)?);
    add_metadata(&mut request, headers);
    grpc.authorize(request.metadata_mut());
    let id = event.id();
    match grpc.callbacks().on_topic_event(request).await {
        Ok(answer) => judge_grpc(answer.into_inner().status, id),
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            tracing::warn!(target: SCOPE, "non-retriable error returned from app while processing pub/sub event {id}: {status}");
            Err(DeliveryError::Unserved)
        }
        Err(status) => {
            let code = Code::from_i32(status.code() as i32);
            let nested = dapr_errors::grpc_nested(code, status.message());
            Err(DeliveryError::Retry {
                message: format!("error returned from app while processing pub/sub event {id}: {nested}"),
                status: Some(StatusCode::grpc(code as i32)),
            })
        }
    }
}

/// Headers as metadata; binary and reserved ones are left out.
pub(super) fn add_metadata<T>(request: &mut tonic::Request<T>, headers: &HeaderMap) {
    for (name, value) in headers {
        if name.as_str().ends_with("-bin") || name.as_str().starts_with("grpc-") {
            continue;
        }
        if let (Ok(key), Ok(value)) = (
            tonic::metadata::MetadataKey::<tonic::metadata::Ascii>::from_bytes(name.as_str().as_bytes()),
            tonic::metadata::MetadataValue::try_from(value.as_bytes()),
        ) {
            request.metadata_mut().insert(key, value);
        }
    }
}

/// Result of a gRPC status number of a topic event.
pub(super) fn judge_grpc(status: i32, id: &str) -> Result<(), DeliveryError> {
    match status {
        0 => Ok(()),
        1 => Err(DeliveryError::retry(format!(
            "RETRY status returned from app while processing pub/sub event {id}"
        ))),
        2 => {
            tracing::warn!(target: SCOPE, "DROP status returned from app while processing pub/sub event {id}");
            Err(DeliveryError::Dropped)
        }
        other => Err(DeliveryError::retry(format!(
            "unknown status returned from app while processing pub/sub event {id}, status: {other}"
        ))),
    }
}

/// The event as the gRPC callback takes it.
pub(super) fn to_grpc(event: &Event) -> Result<rt::TopicEventRequest, DeliveryError> {
    let text = |key: &str| event.attributes.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let content_type = text("datacontenttype");
    let data = grpc_data(event, &content_type).map_err(|reason| {
        DeliveryError::retry(format!("error returned from app while processing pub/sub event: {reason}"))
    })?;
    Ok(rt::TopicEventRequest {
        id: text("id"),
        source: text("source"),
        r#type: text("type"),
        spec_version: text("specversion"),
        data_content_type: content_type,
        data,
        topic: event.topic.clone(),
        pubsub_name: event.pubsub.to_string(),
        path: event.path.clone(),
        extensions: Some(extensions(&event.attributes)),
    })
}

fn grpc_data(event: &Event, content_type: &str) -> Result<Bytes, String> {
    if let Some(encoded) = event.attributes.get("data_base64").filter(|v| !v.is_null()) {
        let text = encoded.as_str().ok_or("unexpected data type encountered in envelope")?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| e.to_string())?;
        return Ok(Bytes::from(decoded));
    }
    if event.attributes.contains_key(BINARY_DATA) {
        // Binary data of a type that is neither text nor JSON arrives empty.
        return Ok(if cloudevent::is_text(content_type) { event.data.clone() } else { Bytes::new() });
    }
    attribute_data(event.attributes.get("data"), content_type)
}

/// `data` as bytes: text as it is, JSON re-encoded, anything else empty.
pub(super) fn attribute_data(data: Option<&Value>, content_type: &str) -> Result<Bytes, String> {
    let Some(data) = data.filter(|v| !v.is_null()) else { return Ok(Bytes::new()) };
    if cloudevent::is_text(content_type) {
        let text = data.as_str().ok_or("unexpected data type encountered in envelope")?;
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    if cloudevent::is_json(content_type) {
        return Ok(Bytes::from(dapr_gocompat::json::to_go_json(data)));
    }
    Ok(Bytes::new())
}

/// Attributes that have no field of their own.
pub(super) fn extensions(attributes: &Map<String, Value>) -> prost_types::Struct {
    const OWN_FIELDS: [&str; 8] =
        ["id", "source", "datacontenttype", "type", "specversion", "data", "data_base64", BINARY_DATA];
    prost_types::Struct {
        fields: attributes
            .iter()
            .filter(|(key, _)| !OWN_FIELDS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), to_proto(value)))
            .collect(),
    }
}

fn to_proto(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(b) => Kind::BoolValue(*b),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::String(s) => Kind::StringValue(s.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_proto).collect() })
        }
        Value::Object(map) => Kind::StructValue(prost_types::Struct {
            fields: map.iter().map(|(k, v)| (k.clone(), to_proto(v))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(attributes: Value) -> Event {
        let Value::Object(attributes) = attributes else { panic!("not an object") };
        Event {
            attributes,
            data: Bytes::from_static(b"raw"),
            topic: "t".into(),
            pubsub: "p".into(),
            path: "/x".into(),
            metadata: HashMap::new(),
        }
    }

    #[test]
    fn http_answers() {
        let e = event(json!({"id": "1"}));
        for ok in [&b""[..], b"not json", b"{}", br#"{"status":"SUCCESS"}"#, br#"{"status":""}"#] {
            assert_eq!(judge_http(200, ok, &e), Ok(()));
        }
        assert_eq!(judge_http(204, b"", &e), Ok(()));
        assert_eq!(judge_http(200, br#"{"status":"DROP"}"#, &e), Err(DeliveryError::Dropped));
        assert!(judge_http(200, br#"{"status":"RETRY"}"#, &e).unwrap_err().retriable());
        assert!(judge_http(200, br#"{"status":"ODD"}"#, &e).unwrap_err().retriable());
        assert_eq!(judge_http(404, b"", &e), Err(DeliveryError::NoRoute));
        assert_eq!(judge_http(503, b"", &e).unwrap_err().status(), Some(StatusCode::http(503)));
    }

    #[test]
    fn grpc_data_follows_the_content_type() {
        let data = |attributes| to_grpc(&event(attributes)).map(|r| r.data);
        assert_eq!(data(json!({"datacontenttype": "text/plain", "data": "hi"})).unwrap(), "hi");
        assert_eq!(
            data(json!({"datacontenttype": "application/json", "data": {"b": 1}})).unwrap(),
            r#"{"b":1}"#
        );
        assert_eq!(data(json!({"datacontenttype": "image/png", "data": "x"})).unwrap(), "");
        assert_eq!(data(json!({"data_base64": "YWI="})).unwrap(), "ab");
        assert!(data(json!({"datacontenttype": "text/plain", "data": 5})).is_err());
    }

    #[test]
    fn extensions_hold_what_has_no_field() {
        let fields = to_grpc(&event(json!({"id": "1", "data": 1, "mine": "x", "time": "t"})))
            .unwrap()
            .extensions
            .unwrap();
        let mut names: Vec<_> = fields.fields.keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["mine", "time"]);
    }
}
