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

/// The media type without parameters, in whatever case.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn has_suffix(text: &str, suffix: &str) -> bool {
    let start = text.len().checked_sub(suffix.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

pub fn is_cloud_event(content_type: &str) -> bool {
    media_type(content_type).eq_ignore_ascii_case(CONTENT_TYPE)
}

pub fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type);
    media.eq_ignore_ascii_case("application/json")
        || (has_prefix(media, "application/") && has_suffix(media, "+json"))
}

pub fn is_binary(content_type: &str) -> bool {
    media_type(content_type).eq_ignore_ascii_case("application/octet-stream")
}

pub fn is_text(content_type: &str) -> bool {
    let media = media_type(content_type);
    has_prefix(media, "text/") || media.eq_ignore_ascii_case("application/xml")
}

/// Protobuf CloudEvents travel as bytes. Whether the bytes are such an event
/// is not looked at: as text they would be damaged in any case.
fn is_protobuf_event(content_type: &str) -> bool {
    media_type(content_type).eq_ignore_ascii_case("application/cloudevents+protobuf")
}

/// The envelope to publish. Metadata may override attributes.
pub fn wrap(publish: &Publish<'_>, metadata: &HashMap<String, String>) -> Result<Bytes, NotAnEvent> {
    let mut one = Envelopes::with_capacity(envelope_size(publish) + publish.data.len());
    one.wrap(publish, Form::AsSent, metadata)?;
    Ok(Bytes::from(one.out))
}

/// Room that an envelope without its data takes, seldom too little.
pub(super) fn envelope_size(publish: &Publish<'_>) -> usize {
    const FIXED: usize = 384;
    let named = publish.source.len() + publish.topic.len() + publish.pubsub.len();
    FIXED + named + publish.content_type.len() + 2 * publish.trace_parent.len() + publish.trace_state.len()
}

/// What is known of the data of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    AsSent,
    /// JSON as Go writes it: nothing is left to take away or to escape.
    GoJson,
}

/// The envelopes of one call: of one time, and one after the other in one
/// buffer.
pub(super) struct Envelopes {
    now: String,
    out: Vec<u8>,
}

impl Envelopes {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { now: time::rfc3339_local(SystemTime::now()), out: Vec::with_capacity(bytes) }
    }

    /// As [`wrap`]; the envelope ends where [`Self::len`] is afterwards.
    pub(super) fn wrap(
        &mut self,
        publish: &Publish<'_>,
        form: Form,
        metadata: &HashMap<String, String>,
    ) -> Result<(), NotAnEvent> {
        if is_cloud_event(publish.content_type) {
            self.out.extend_from_slice(&adopt(publish, &self.now)?);
        } else {
            envelope(publish, &Overrides::from(metadata), form, &self.now, &mut self.out);
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }
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
    let overrides = Overrides { id: Some(id), ..Overrides::default() };
    let now = time::rfc3339_local(SystemTime::now());
    let object = |publish: &Publish<'_>| {
        let mut out = Vec::with_capacity(envelope_size(publish) + publish.data.len());
        envelope(publish, &overrides, Form::AsSent, &now, &mut out);
        serde_json::from_slice(&out)
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
fn envelope(publish: &Publish<'_>, overrides: &Overrides<'_>, form: Form, now: &str, out: &mut Vec<u8>) {
    let content_type =
        if publish.content_type.is_empty() { DEFAULT_DATA_CONTENT_TYPE } else { publish.content_type };
    let trace_parent = overrides.trace_parent.or(overrides.trace_id).unwrap_or(publish.trace_parent);
    write_data(content_type, publish.data, form, out);
    let mut out = Attributes(out);
    out.text(r#","datacontenttype":"#, content_type);
    if let Some(ttl) = publish.ttl {
        out.text(r#","expiration":"#, &expiration_after(ttl));
    }
    match overrides.id {
        Some(id) => out.text(r#","id":"#, id),
        None => out.plain(
            r#","id":"#,
            uuid::Uuid::new_v4().as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()),
        ),
    }
    out.text(r#","pubsubname":"#, publish.pubsub);
    out.text(r#","source":"#, overrides.source.unwrap_or(publish.source));
    out.plain(r#","specversion":"#, "1.0");
    if let Some(subject) = overrides.subject {
        out.text(r#","subject":"#, subject);
    }
    out.plain(r#","time":"#, now);
    out.text(r#","topic":"#, publish.topic);
    out.text(r#","traceid":"#, trace_parent);
    out.text(r#","traceparent":"#, trace_parent);
    out.text(r#","tracestate":"#, overrides.trace_state.unwrap_or(publish.trace_state));
    out.text(r#","type":"#, overrides.event_type.unwrap_or(DEFAULT_TYPE));
    out.0.push(b'}');
}

/// When something ends that lives for `ttl` from now. What ends beyond all
/// times ends at the last that the format can write.
fn expiration_after(ttl: Duration) -> String {
    let end = SystemTime::now().checked_add(ttl);
    time::rfc3339(end.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND)))
}

/// The first attribute and what stands before it: `{"data":...`.
fn write_data(content_type: &str, data: &[u8], form: Form, out: &mut Vec<u8>) {
    if is_json(content_type) {
        if form == Form::GoJson {
            out.extend_from_slice(b"{\"data\":");
            return out.extend_from_slice(data);
        }
        if let Some(json) = first_json(data) {
            out.extend_from_slice(b"{\"data\":");
            return json::write_compact(json, out);
        }
    } else if is_binary(content_type) || is_protobuf_event(content_type) {
        return Attributes(out).plain("{\"data_base64\":", &STANDARD.encode(data));
    }
    Attributes(out).text("{\"data\":", &String::from_utf8_lossy(data));
}

/// The first JSON value of `data`; numbers keep their digits.
fn first_json(data: &[u8]) -> Option<&RawValue> {
    serde_json::Deserializer::from_slice(data).into_iter::<&RawValue>().next()?.ok()
}

/// Writes texts behind what precedes them, their names included.
struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    fn text(&mut self, before: &str, value: &str) {
        let plain = value
            .bytes()
            .all(|b| (0x20..0x7f).contains(&b) && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&'));
        if plain {
            return self.plain(before, value);
        }
        self.0.extend_from_slice(before.as_bytes());
        self.0.extend_from_slice(json::escape_str(value).as_bytes());
    }

    /// A text that needs no escapes.
    fn plain(&mut self, before: &str, value: &str) {
        self.0.extend_from_slice(before.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
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
fn adopt(publish: &Publish<'_>, now: &str) -> Result<Vec<u8>, NotAnEvent> {
    let first = serde_json::Deserializer::from_slice(publish.data).into_iter::<Map<String, Value>>().next();
    let Some(Ok(mut event)) = first else { return Err(NotAnEvent(why_no_object(publish.data))) };
    if !event.contains_key("time") {
        event.insert("time".into(), now.into());
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
