//! Publishing over HTTP (api.md §2.3).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_blocks::pubsub::{BulkCall, BulkEntryCall, BulkFailure, EntryIds, PublishCall, Via, cloudevent};
use dapr_components::pubsub::FailedEntry;
use dapr_errors::pubsub::Serialization;
use dapr_errors::{ApiError, pubsub as errors};
use dapr_gocompat::json;
use dapr_transport::Body;
use http::{Response, StatusCode};
use serde_json::Value;

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
    let mut ids = EntryIds::default();
    let mut entries = Vec::with_capacity(read.len());
    for entry in read {
        let event = event_bytes(&entry.event, &entry.content_type).map_err(|reason| {
            errors::events(Serialization::MarshalEnvelope, pubsub, topic, app_id, reason)
        })?;
        ids.admit(&entry.entry_id, pubsub, topic, app_id)?;
        let Entry { entry_id, content_type, metadata, .. } = entry;
        entries.push(BulkEntryCall { entry_id, event, content_type, metadata });
    }
    let trace = trace_context::of(&call.headers);
    let bulk = BulkCall { pubsub, topic, entries, metadata, trace, via: Via::Http, name: &call.path };
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
    event: Value,
    content_type: String,
    metadata: Option<HashMap<String, String>>,
}

fn read_entries(body: &[u8]) -> Result<Vec<Entry>, String> {
    let items = match first_value(body).map_err(|e| e.to_string())? {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(json::unmarshal_type_error(json::kind_name(&other), &format!("[]{ENTRY_TYPE}"))),
    };
    let read = |item| -> Result<Entry, FieldError> {
        let mut fields = Fields::of(item, ENTRY_TYPE)?;
        Ok(Entry {
            entry_id: fields.string("entryId")?,
            event: fields.take("event").unwrap_or_default(),
            content_type: fields.string("contentType")?,
            metadata: fields.string_map("metadata")?,
        })
    };
    items.into_iter().map(|item| read(item).map_err(|e| e.to_string())).collect()
}

/// What an entry publishes: JSON stays JSON, binary data arrives as base64.
fn event_bytes(event: &Value, content_type: &str) -> Result<Bytes, String> {
    const MISMATCH: &str = "error: mismatch between contentType and event";
    if cloudevent::is_binary(content_type) {
        let text = event.as_str().ok_or(MISMATCH)?;
        return decode(text)
            .map(Bytes::from)
            .map_err(|at| {
                format!("error: unable to decode base64 application/octect-stream data: illegal base64 data at input byte {at}")
            });
    }
    if cloudevent::is_text(content_type) {
        return event
            .as_str()
            .map(|text| Bytes::copy_from_slice(text.as_bytes()))
            .ok_or_else(|| MISMATCH.to_owned());
    }
    if cloudevent::is_json(content_type) || cloudevent::is_cloud_event(content_type) {
        return Ok(Bytes::from(json::to_go_json(event)));
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
        event_bytes(&event, content_type).map(|b| String::from_utf8_lossy(&b).into_owned())
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
