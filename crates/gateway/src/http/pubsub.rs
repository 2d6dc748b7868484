//! Publishing over HTTP (api.md §2.3).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_blocks::pubsub::{
    BulkCall, BulkEntryCall, BulkFailure, EntryIds, Form, PublishCall, Via, cloudevent,
};
use dapr_components::pubsub::FailedEntry;
use dapr_errors::pubsub::Serialization;
use dapr_errors::{ApiError, pubsub as errors};
use dapr_gocompat::json;
use dapr_transport::Body;
use http::{Response, StatusCode};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::Call;
use super::fields::{FieldError, Fields, first_value};
use super::reply;
use crate::{Api, trace_context};

/// How errors call the type of one bulk entry.
const ENTRY_TYPE: &str = "http.bulkPublishMessageEntry";

pub async fn publish(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    let metadata = call.query_metadata();
    api.pubsub.check(call.params.get("pubsub"), call.params.get("topic"), &metadata)?;
    let data = call.take_body().await;
    let (pubsub, topic) = (call.params.get("pubsub"), call.params.get("topic"));
    let data = data.map_err(|reason| errors::publish_failed(pubsub, topic, reason))?;
    let publish = PublishCall {
        pubsub,
        topic,
        content_type: call.content_type(),
        data,
        metadata,
        trace: trace_context::of(&call.headers),
        via: Via::Http,
    };
    api.pubsub.publish(publish).await.map_err(|error| since_checked(error, pubsub, topic))?;
    Ok(reply::no_content())
}

pub async fn bulk_publish(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    let metadata = call.query_metadata();
    api.pubsub.check(call.params.get("pubsub"), call.params.get("topic"), &metadata)?;
    let body = call.take_body().await;
    let (pubsub, topic) = (call.params.get("pubsub"), call.params.get("topic"));
    let app_id = api.identity.app_id();
    let unreadable =
        |reason: String| errors::events(Serialization::UnmarshalEvents, pubsub, topic, app_id, reason);
    let read = body.map_err(&unreadable)?;
    let read = read_entries(&read).map_err(unreadable)?;
    let mut ids = EntryIds::with_capacity(read.len());
    let mut events = Vec::with_capacity(read.len());
    for entry in &read {
        events.push(event_bytes(&entry.event, &entry.content_type).map_err(|reason| {
            errors::events(Serialization::MarshalEnvelope, pubsub, topic, app_id, reason)
        })?);
        ids.admit(&entry.entry_id, pubsub, topic, app_id)?;
    }
    let entries = read.into_iter().zip(events).map(|(entry, (event, form))| {
        let Entry { entry_id, content_type, metadata, .. } = entry;
        BulkEntryCall { entry_id, event, form, content_type, metadata }
    });
    let bulk = BulkCall {
        pubsub,
        topic,
        entries: entries.collect(),
        ids_admitted: true,
        metadata,
        trace: trace_context::of(&call.headers),
        via: Via::Http,
        name: &call.path,
    };
    match api.pubsub.bulk_publish(bulk).await {
        Ok(()) => Ok(reply::no_content()),
        Err(BulkFailure::Refused(error)) => Err(since_checked(error, pubsub, topic)),
        Err(BulkFailure::Failed { failed, error }) => Ok(failed_response(&failed, &error)),
    }
}

/// A component that was there before the body was read and is not any more has
/// an error of its own.
fn since_checked(error: ApiError, pubsub: &str, topic: &str) -> ApiError {
    if errors::is_not_found(&error) { errors::vanished(pubsub, topic) } else { error }
}

/// One element of a bulk body.
#[derive(Debug)]
struct Entry {
    entry_id: String,
    event: Event,
    content_type: String,
    metadata: Option<HashMap<String, String>>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Any(Value),
    /// JSON as Go writes it.
    GoJson(Bytes),
}

/// An element of which nothing has to be told to a Go program: every field has
/// its type and its exact name.
struct PlainEntry<'a> {
    entry_id: String,
    event: &'a RawValue,
    content_type: String,
    metadata: Option<HashMap<String, String>>,
}

impl<'de> Deserialize<'de> for PlainEntry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PlainFields)
    }
}

/// Not derived: that would take an array for an entry, too.
struct PlainFields;

impl<'de> Visitor<'de> for PlainFields {
    type Value = PlainEntry<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an entry without oddities")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PlainEntry<'de>, A::Error> {
        let (mut entry_id, mut event, mut content_type, mut metadata) = (None, None, None, None);
        while let Some(name) = map.next_key::<&str>()? {
            match name {
                "entryId" if entry_id.is_none() => entry_id = Some(map.next_value()?),
                "event" if event.is_none() => event = Some(map.next_value()?),
                "contentType" if content_type.is_none() => content_type = Some(map.next_value()?),
                "metadata" if metadata.is_none() => metadata = Some(map.next_value()?),
                _ => return Err(A::Error::custom("an unknown or repeated field")),
            }
        }
        Ok(PlainEntry {
            entry_id: entry_id.unwrap_or_default(),
            event: event.ok_or_else(|| A::Error::missing_field("event"))?,
            content_type: content_type.unwrap_or_default(),
            metadata: metadata.unwrap_or_default(),
        })
    }
}

fn read_entries(body: &[u8]) -> Result<Vec<Entry>, String> {
    match read_plain(body) {
        Some(entries) => Ok(entries),
        None => read_any(body),
    }
}

/// What [`read_any`] reads, if the body is as almost all are: events that are
/// JSON go from text to text and share one buffer.
fn read_plain(body: &[u8]) -> Option<Vec<Entry>> {
    let plain = Vec::<PlainEntry<'_>>::deserialize(&mut serde_json::Deserializer::from_slice(body)).ok()?;
    let (mut normalizer, mut events) = (json::Normalizer::default(), Vec::with_capacity(body.len()));
    let mut ends = Vec::with_capacity(plain.len());
    for entry in &plain {
        if publishes_json(&entry.content_type) {
            normalizer.append(entry.event.get(), &mut events).ok()?;
        }
        ends.push(events.len());
    }
    let (events, mut start) = (Bytes::from(events), 0);
    let read = plain.into_iter().zip(ends).map(|(entry, end)| {
        let PlainEntry { entry_id, event, content_type, metadata } = entry;
        let event = if publishes_json(&content_type) {
            Event::GoJson(events.slice(std::mem::replace(&mut start, end)..end))
        } else {
            Event::Any(json::decode_first(event.get().as_bytes()).ok()?.0)
        };
        Some(Entry { entry_id, event, content_type, metadata })
    });
    read.collect()
}

fn read_any(body: &[u8]) -> Result<Vec<Entry>, String> {
    let items = match first_value(body).map_err(|e| e.to_string())? {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(json::unmarshal_type_error(json::kind_name(&other), &format!("[]{ENTRY_TYPE}"))),
    };
    let read = |item| -> Result<Entry, FieldError> {
        let mut fields = Fields::of(item, ENTRY_TYPE)?;
        Ok(Entry {
            entry_id: fields.string("entryId")?,
            event: Event::Any(fields.take("event").unwrap_or_default()),
            content_type: fields.string("contentType")?,
            metadata: fields.string_map("metadata")?,
        })
    };
    items.into_iter().map(|item| read(item).map_err(|e| e.to_string())).collect()
}

fn publishes_json(content_type: &str) -> bool {
    cloudevent::is_json(content_type) || cloudevent::is_cloud_event(content_type)
}

/// What an entry publishes: JSON stays JSON, binary data arrives as base64.
fn event_bytes(event: &Event, content_type: &str) -> Result<(Bytes, Form), String> {
    const MISMATCH: &str = "error: mismatch between contentType and event";
    let event = match event {
        Event::GoJson(event) => return Ok((event.clone(), Form::GoJson)),
        Event::Any(event) => event,
    };
    if cloudevent::is_binary(content_type) {
        let text = event.as_str().ok_or(MISMATCH)?;
        return decode(text)
            .map(|data| (Bytes::from(data), Form::AsSent))
            .map_err(|at| {
                format!("error: unable to decode base64 application/octect-stream data: illegal base64 data at input byte {at}")
            });
    }
    if cloudevent::is_text(content_type) {
        return event
            .as_str()
            .map(|text| (Bytes::copy_from_slice(text.as_bytes()), Form::AsSent))
            .ok_or_else(|| MISMATCH.to_owned());
    }
    if publishes_json(content_type) {
        return Ok((Bytes::from(json::to_go_json(event)), Form::GoJson));
    }
    Err(MISMATCH.to_owned())
}

/// Line breaks do not count. `Err` is where the text stops being base64.
fn decode(text: &str) -> Result<Vec<u8>, usize> {
    use base64::DecodeError;
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(&text).map_err(|error| match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
    })
}

fn failed_response(failed: &[FailedEntry], error: &ApiError) -> Response<Body> {
    let mut body = String::from("{\"failedEntries\":[");
    for (i, entry) in failed.iter().enumerate() {
        if i > 0 {
            body.push(',');
        }
        body.push_str("{\"entryId\":");
        body.push_str(&json::escape_str(&entry.entry_id));
        if !entry.error.is_empty() {
            body.push_str(",\"error\":");
            body.push_str(&json::escape_str(&entry.error));
        }
        body.push('}');
    }
    body.push_str("],\"errorCode\":");
    body.push_str(&json::escape_str(&error.tag));
    body.push('}');
    let metadata = HashMap::from([
        ("responseData".to_owned(), body.clone()),
        ("error".to_owned(), error.nested().replace(['\r', '\n'], " ")),
    ]);
    let status = StatusCode::from_u16(error.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply::json_with(status, body);
    reply::add_metadata(&mut response, &metadata);
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(event: Value, content_type: &str) -> Result<String, String> {
        event_bytes(&Event::Any(event), content_type).map(|(b, _)| String::from_utf8_lossy(&b).into_owned())
    }

    #[test]
    fn events_follow_their_content_type() {
        let mismatch = Err("error: mismatch between contentType and event".to_owned());
        assert_eq!(bytes(json!("YWI="), "application/octet-stream"), Ok("ab".to_owned()));
        assert_eq!(bytes(json!({}), "application/octet-stream"), mismatch);
        assert_eq!(bytes(json!("hi"), "text/plain"), Ok("hi".to_owned()));
        assert_eq!(bytes(json!("<a/>"), "application/xml"), Ok("<a/>".to_owned()));
        assert_eq!(bytes(json!(5), "text/plain"), mismatch);
        assert_eq!(bytes(json!({"b": "<"}), "application/json"), Ok(r#"{"b":"\u003c"}"#.to_owned()));
        assert_eq!(bytes(json!({"id": "1"}), "application/cloudevents+json"), Ok(r#"{"id":"1"}"#.to_owned()));
        assert_eq!(bytes(json!("x"), ""), mismatch);
        assert!(
            bytes(json!("a*"), "application/octet-stream")
                .unwrap_err()
                .ends_with("illegal base64 data at input byte 1")
        );
    }

    #[test]
    fn bodies_that_do_not_fit_read_like_go() {
        let reason = |body: &[u8]| read_entries(body).unwrap_err();
        assert_eq!(
            reason(br#"{"entryID": ""}"#),
            "json: cannot unmarshal object into Go value of type []http.bulkPublishMessageEntry"
        );
        assert_eq!(reason(b"[{"), "unexpected EOF");
        assert_eq!(reason(b""), "EOF");
        assert!(read_entries(b"null").unwrap().is_empty());
        let read = read_entries(
            br#"[{"EntryID":"1","event":{"a":1},"contentType":"application/json","metadata":null}]"#,
        )
        .unwrap();
        assert_eq!((read[0].entry_id.as_str(), &read[0].metadata), ("1", &None));
    }

    /// Bytes of all events, or the first error.
    fn published(
        entries: Vec<Entry>,
    ) -> Result<Vec<(String, Bytes, Option<HashMap<String, String>>)>, String> {
        let one = |e: Entry| Ok((e.entry_id, event_bytes(&e.event, &e.content_type)?.0, e.metadata));
        entries.into_iter().map(one).collect()
    }

    #[test]
    fn the_fast_way_through_a_body_reads_what_the_other_reads() {
        for body in [
            r#"[{"entryId":"1","event":{"b":1.50,"a":" <"},"contentType":"application/json","metadata":{"k":"v"}}]x"#,
            r#" [ {"event": 5 ,"contentType":"application/cloudevents+json"} , {"entryId":"\u0031","event":"hi","contentType":"text/plain"} ] "#,
            r#"[{"entryId":"1","event":"YWI=","contentType":"application/octet-stream","metadata":null}]"#,
            r#"[{"entryId":"1","event":{},"contentType":"text/plain"}]"#,
            r#"[{"entryId":"1","event":null,"contentType":"application/x+json"}]"#,
            "[]",
        ] {
            let plain = published(read_plain(body.as_bytes()).expect(body));
            assert_eq!(plain, published(read_any(body.as_bytes()).unwrap()), "{body}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_other_way() {
        for body in [
            r#"[{"entryID":"1","event":1,"contentType":"application/json"}]"#,
            r#"[{"entryId":null,"event":1,"contentType":"application/json"}]"#,
            r#"[{"entryId":"1","event":1,"event":2,"contentType":"application/json"}]"#,
            r#"[{"entryId":"1","event":1e999,"contentType":"application/json"}]"#,
            r#"[{"entryId":"1","event":[1e999],"contentType":"text/plain"}]"#,
            r#"[{"entryId":"1","contentType":"application/json"}]"#,
            r#"[{"entryId":"1","event":1,"more":1}]"#,
            r#"[["1",1,"application/json",null]]"#,
            "[null]",
            "null",
            "{}",
            "[{",
        ] {
            assert!(read_plain(body.as_bytes()).is_none(), "{body}");
        }
        assert!(read_plain(b"[{\"entryId\":\"\xff\",\"event\":1}]").is_none());
    }

    #[test]
    fn a_failure_names_the_entries_in_body_and_header() {
        let failed = [FailedEntry { entry_id: "1".to_owned(), error: "no".to_owned() }];
        let response = failed_response(&failed, &errors::publish_failed("p", "t", "no"));
        assert_eq!(response.status(), 500);
        assert_eq!(
            response.headers()["metadata.responsedata"],
            r#"{"failedEntries":[{"entryId":"1","error":"no"}],"errorCode":"ERR_PUBSUB_PUBLISH_MESSAGE"}"#
        );
        assert_eq!(
            response.headers()["metadata.error"],
            "api error: code = Internal desc = error when publishing to topic t in pubsub p: no"
        );
    }
}
