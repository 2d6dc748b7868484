//! The CloudEvent envelope: made on publish, read on delivery (api.md §6.1,
//! §6.2). Pure functions of their arguments but for ids and the time.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_gocompat::{json, time};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub const CONTENT_TYPE: &str = "application/cloudevents+json";
const DEFAULT_TYPE: &str = "com.dapr.event.sent";
pub const BULK_TYPE: &str = "com.dapr.event.sent.bulk";
const DEFAULT_SOURCE: &str = "Dapr";
const DEFAULT_DATA_CONTENT_TYPE: &str = "text/plain";
const OVERRIDE_PREFIX: &str = "cloudevent.";
/// The end of the year 9999; the format is full a little before.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a publish brings.
#[derive(Clone, Debug, Default)]
pub struct Publish<'a> {
    pub source: &'a str,
    pub topic: &'a str,
    pub pubsub: &'a str,
    pub content_type: &'a str,
    pub data: &'a [u8],
    /// W3C trace context of the request; empty without tracing.
    pub trace_parent: &'a str,
    pub trace_state: &'a str,
    /// TTL that the broker does not handle itself.
    pub ttl: Option<Duration>,
}

/// The publisher's own event is not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAnEvent(String);

/// The media type without parameters, lower-cased.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub fn is_cloud_event(content_type: &str) -> bool {
    media_type(content_type) == CONTENT_TYPE
}

pub fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type);
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

pub fn is_binary(content_type: &str) -> bool {
    media_type(content_type) == "application/octet-stream"
}

pub fn is_text(content_type: &str) -> bool {
    let media = media_type(content_type);
    media.starts_with("text/") || media == "application/xml"
}

/// Protobuf CloudEvents travel as bytes. Whether the bytes are such an event
/// is not looked at: as text they would be damaged in any case.
fn is_protobuf_event(content_type: &str) -> bool {
    media_type(content_type) == "application/cloudevents+protobuf"
}

/// The envelope to publish. Metadata may override attributes.
pub fn wrap(publish: &Publish<'_>, metadata: &HashMap<String, String>) -> Result<Bytes, NotAnEvent> {
    if is_cloud_event(publish.content_type) {
        return adopt(publish).map(Bytes::from);
    }
    Ok(Bytes::from(envelope(publish, &Overrides::from(metadata))))
}

#[derive(Default)]
struct Overrides<'a> {
    id: Option<&'a str>,
    source: Option<&'a str>,
    event_type: Option<&'a str>,
    subject: Option<&'a str>,
    trace_id: Option<&'a str>,
    trace_parent: Option<&'a str>,
    trace_state: Option<&'a str>,
}

impl<'a> From<&'a HashMap<String, String>> for Overrides<'a> {
    fn from(metadata: &'a HashMap<String, String>) -> Self {
        let mut out = Self::default();
        for (key, value) in metadata {
            if key.len() <= OVERRIDE_PREFIX.len()
                || !key.is_char_boundary(OVERRIDE_PREFIX.len())
                || !key[..OVERRIDE_PREFIX.len()].eq_ignore_ascii_case(OVERRIDE_PREFIX)
                || value.is_empty()
            {
                continue;
            }
            let slot = match key[OVERRIDE_PREFIX.len()..].to_ascii_lowercase().as_str() {
                "id" => &mut out.id,
                "source" => &mut out.source,
                "type" => &mut out.event_type,
                "subject" => &mut out.subject,
                "traceid" => &mut out.trace_id,
                "traceparent" => &mut out.trace_parent,
                "tracestate" => &mut out.trace_state,
                _ => continue,
            };
            *slot = Some(value);
        }
        out
    }
}

/// The envelope of an event that the runtime itself makes, whatever its
/// content type.
pub(crate) fn with_id(publish: &Publish<'_>, id: &str) -> Map<String, Value> {
    let object = |publish: &Publish<'_>| {
        serde_json::from_str(&envelope(publish, &Overrides { id: Some(id), ..Overrides::default() }))
    };
    object(publish).unwrap_or_else(|_: serde_json::Error| {
        // The data holds a number that is too large for a value: it goes as text.
        let bare = Publish { data: b"", ..publish.clone() };
        let mut event: Map<String, Value> =
            object(&bare).expect("the envelope was just written as an object");
        event.insert("data".into(), String::from_utf8_lossy(publish.data).into());
        event
    })
}

/// Writes the attributes in the order of their names, straight into one text.
fn envelope(publish: &Publish<'_>, overrides: &Overrides<'_>) -> String {
    let content_type =
        if publish.content_type.is_empty() { DEFAULT_DATA_CONTENT_TYPE } else { publish.content_type };
    let trace_parent = overrides.trace_parent.or(overrides.trace_id).unwrap_or(publish.trace_parent);
    let mut out = Writer::with_capacity(publish.data.len() + 512);
    match data_of(content_type, publish.data) {
        Data::Json(text) => out.raw("data", &text),
        Data::Text(text) => out.text("data", &text),
        Data::Base64(text) => out.text("data_base64", &text),
    }
    out.text("datacontenttype", content_type);
    if let Some(ttl) = publish.ttl {
        out.text("expiration", &expiration_after(ttl));
    }
    match overrides.id {
        Some(id) => out.text("id", id),
        None => out
            .text("id", uuid::Uuid::new_v4().as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())),
    }
    out.text("pubsubname", publish.pubsub);
    out.text("source", overrides.source.unwrap_or(publish.source));
    out.text("specversion", "1.0");
    if let Some(subject) = overrides.subject {
        out.text("subject", subject);
    }
    out.text("time", &time::rfc3339_local(SystemTime::now()));
    out.text("topic", publish.topic);
    out.text("traceid", trace_parent);
    out.text("traceparent", trace_parent);
    out.text("tracestate", overrides.trace_state.unwrap_or(publish.trace_state));
    out.text("type", overrides.event_type.unwrap_or(DEFAULT_TYPE));
    out.finish()
}

/// When something ends that lives for `ttl` from now. What ends beyond all
/// times ends at the last that the format can write.
fn expiration_after(ttl: Duration) -> String {
    let end = SystemTime::now().checked_add(ttl);
    time::rfc3339(end.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND)))
}

enum Data {
    Json(Vec<u8>),
    Text(String),
    Base64(String),
}

fn data_of(content_type: &str, data: &[u8]) -> Data {
    if is_json(content_type) {
        if let Some(text) = first_json(data) {
            return Data::Json(text);
        }
    } else if is_binary(content_type) || is_protobuf_event(content_type) {
        return Data::Base64(STANDARD.encode(data));
    }
    Data::Text(String::from_utf8_lossy(data).into_owned())
}

/// The first JSON value of `data`, compacted; numbers keep their digits.
fn first_json(data: &[u8]) -> Option<Vec<u8>> {
    let raw = serde_json::Deserializer::from_slice(data).into_iter::<&RawValue>().next()?.ok()?;
    json::compact(raw.get().as_bytes()).ok()
}

/// Builds a flat JSON object.
struct Writer(String);

impl Writer {
    fn with_capacity(capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let plain = value
            .bytes()
            .all(|b| (0x20..0x7f).contains(&b) && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&'));
        if plain {
            self.0.push('"');
            self.0.push_str(value);
            self.0.push('"');
        } else {
            self.0.push_str(&json::escape_str(value));
        }
    }

    fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.0.push_str(&String::from_utf8_lossy(value));
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// What is wrong with `data`, in Go's words.
fn why_no_object(data: &[u8]) -> String {
    match json::decode_first(data) {
        Err(error) => error.to_string(),
        Ok((value, _)) => json::unmarshal_type_error(json::kind_name(&value), "map[string]interface {}"),
    }
}

/// Takes the publisher's own event and completes it.
fn adopt(publish: &Publish<'_>) -> Result<Vec<u8>, NotAnEvent> {
    let first = serde_json::Deserializer::from_slice(publish.data).into_iter::<Map<String, Value>>().next();
    let Some(Ok(mut event)) = first else { return Err(NotAnEvent(why_no_object(publish.data))) };
    if !event.contains_key("time") {
        event.insert("time".into(), time::rfc3339_local(SystemTime::now()).into());
    }
    if !event.contains_key("traceid") {
        event.insert("traceid".into(), publish.trace_parent.into());
        event.insert("traceparent".into(), publish.trace_parent.into());
    }
    if !event.contains_key("tracestate") {
        event.insert("tracestate".into(), publish.trace_state.into());
    }
    event.insert("topic".into(), publish.topic.into());
    event.insert("pubsubname".into(), publish.pubsub.into());
    for (key, default) in [("source", DEFAULT_SOURCE), ("type", DEFAULT_TYPE), ("specversion", "1.0")] {
        if event.get(key).is_none_or(Value::is_null) {
            event.insert(key.into(), default.into());
        }
    }
    if let Some(ttl) = publish.ttl {
        event.insert("expiration".into(), expiration_after(ttl).into());
    }
    Ok(json::to_go_json(&Value::Object(event)))
}

/// The event that stands for a message without an envelope.
pub fn from_raw(
    data: &[u8],
    topic: &str,
    pubsub: &str,
    metadata: &HashMap<String, String>,
) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("id".into(), uuid::Uuid::new_v4().to_string().into());
    event.insert("specversion".into(), "1.0".into());
    event.insert("datacontenttype".into(), "application/octet-stream".into());
    event.insert("source".into(), DEFAULT_SOURCE.into());
    event.insert("type".into(), DEFAULT_TYPE.into());
    event.insert("topic".into(), topic.into());
    event.insert("pubsubname".into(), pubsub.into());
    event.insert("data_base64".into(), STANDARD.encode(data).into());
    if let Some(id) = metadata.get("traceid") {
        event.insert("traceid".into(), id.as_str().into());
    }
    if let Some(parent) = metadata.get("traceparent") {
        event.insert("traceparent".into(), parent.as_str().into());
        event.insert("traceid".into(), parent.as_str().into());
    }
    if let Some(state) = metadata.get("tracestate") {
        event.insert("tracestate".into(), state.as_str().into());
    }
    event
}

/// Fills trace attributes that the event lacks from the message's metadata.
pub fn complete_trace(event: &mut Map<String, Value>, metadata: &HashMap<String, String>) {
    if !event.contains_key("traceid")
        && let Some(id) = metadata.get("traceid")
    {
        event.insert("traceid".into(), id.as_str().into());
    }
    if !event.contains_key("traceparent")
        && let Some(parent) = metadata.get("traceparent")
    {
        event.insert("traceparent".into(), parent.as_str().into());
        event.insert("traceid".into(), parent.as_str().into());
    }
    if !event.contains_key("tracestate")
        && let Some(state) = metadata.get("tracestate")
    {
        event.insert("tracestate".into(), state.as_str().into());
    }
}

/// Whether `expiration` lies in the past; what is no time never expires.
pub fn has_expired(event: &Map<String, Value>) -> bool {
    event.get("expiration").and_then(Value::as_str).filter(|e| !e.is_empty()).is_some_and(is_past)
}

fn is_past(expiration: &str) -> bool {
    time::parse_rfc3339(expiration).is_ok_and(|at| at < SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(content_type: &str, data: &[u8], metadata: &[(&str, &str)]) -> Value {
        let publish = Publish {
            source: "app",
            topic: "t",
            pubsub: "p",
            content_type,
            data,
            trace_parent: "tp",
            ..Publish::default()
        };
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        serde_json::from_slice(&wrap(&publish, &metadata).unwrap()).unwrap()
    }

    #[test]
    fn a_ttl_beyond_all_times_is_the_last_time() {
        for content_type in ["text/plain", CONTENT_TYPE] {
            let publish = Publish {
                content_type,
                data: b"{}",
                ttl: Some(Duration::from_secs(u64::MAX)),
                ..Publish::default()
            };
            let event: Value = serde_json::from_slice(&wrap(&publish, &HashMap::new()).unwrap()).unwrap();
            assert!(event["expiration"].as_str().unwrap().starts_with("9999-12-3"), "{event}");
        }
    }

    #[test]
    fn numbers_beyond_all_values_go_as_text() {
        let publish =
            Publish { content_type: "application/json", data: b"[1e999]", source: "a", ..Publish::default() };
        let event = with_id(&publish, "x");
        assert_eq!(
            (&event["data"], &event["id"], &event["source"]),
            (&"[1e999]".into(), &"x".into(), &"a".into())
        );
    }

    #[test]
    fn the_envelope_has_its_attributes_in_name_order() {
        let publish = Publish { source: "app", topic: "t", pubsub: "p", data: b"x<", ..Publish::default() };
        let text = String::from_utf8(wrap(&publish, &HashMap::new()).unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("{\"data\":\"x\\u003c\",\"datacontenttype\":\"text/plain\",\"id\":\""),
            "{text}"
        );
        let keys: Vec<String> =
            serde_json::from_str::<Map<String, Value>>(&text).unwrap().keys().cloned().collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
        assert_eq!(keys.len(), 12);
    }

    #[test]
    fn data_follows_the_content_type() {
        assert_eq!(
            wrapped("application/json", br#"{"a": 1.10}"#, &[])["data"],
            serde_json::json!({"a": 1.10})
        );
        assert_eq!(wrapped("application/json; charset=utf-8", b"5", &[])["data"], 5);
        assert_eq!(wrapped("application/json", b"{broken", &[])["data"], "{broken");
        assert_eq!(wrapped("application/octet-stream", b"ab", &[])["data_base64"], "YWI=");
        assert_eq!(wrapped("application/xml", b"<a/>", &[])["data"], "<a/>");
        assert_eq!(wrapped("", b"hi", &[])["datacontenttype"], "text/plain");
    }

    #[test]
    fn numbers_keep_their_digits() {
        let publish = Publish {
            content_type: "application/json",
            data: b"[12345678901234567890123, 1.0]",
            ..Publish::default()
        };
        let text = String::from_utf8(wrap(&publish, &HashMap::new()).unwrap().to_vec()).unwrap();
        assert!(text.contains("\"data\":[12345678901234567890123,1.0]"), "{text}");
    }

    #[test]
    fn metadata_overrides_attributes_in_any_case() {
        let event = wrapped(
            "text/plain",
            b"x",
            &[
                ("CloudEvent.ID", "i"),
                ("cloudevent.type", "y"),
                ("cloudevent.subject", "s"),
                ("cloudevent.topic", "no"),
            ],
        );
        assert_eq!(
            (&event["id"], &event["type"], &event["subject"]),
            (&"i".into(), &"y".into(), &"s".into())
        );
        assert_eq!(event["topic"], "t");
        let event = wrapped("", b"", &[("cloudevent.traceparent", "a"), ("cloudevent.traceid", "b")]);
        assert_eq!((&event["traceid"], &event["traceparent"]), (&"a".into(), &"a".into()));
    }

    #[test]
    fn a_publishers_own_event_is_completed_not_replaced() {
        let event = wrapped(
            CONTENT_TYPE,
            br#"{"id":"1","data":{"b":2},"topic":"x","traceid":"own"}"#,
            &[("cloudevent.id", "no")],
        );
        assert_eq!(event["id"], "1");
        assert_eq!(event["topic"], "t");
        assert_eq!(event["pubsubname"], "p");
        assert_eq!(event["source"], "Dapr");
        assert_eq!(event["traceid"], "own");
        assert!(event.get("traceparent").is_none());
        let bad = Publish { content_type: CONTENT_TYPE, data: b"[]", ..Publish::default() };
        assert!(wrap(&bad, &HashMap::new()).is_err());
    }

    #[test]
    fn expiry_is_read_leniently() {
        let event = |e: &str| Map::from_iter([("expiration".to_owned(), Value::from(e))]);
        assert!(has_expired(&event("2001-01-01T00:00:00Z")));
        assert!(!has_expired(&event("2999-01-01T00:00:00Z")));
        assert!(!has_expired(&event("soon")));
    }
}
