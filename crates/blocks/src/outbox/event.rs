//! From the operations of a transaction to the events that tell about them.

use std::collections::HashMap;

use bytes::Bytes;
use dapr_components::state::{Operation, SetRequest, Value};
use dapr_gocompat::bools::is_truthy;
use dapr_gocompat::{json, text};

use crate::pubsub::Trace;
use crate::pubsub::cloudevent::{self, Publish};

/// Marks an item that is published in place of the item with the same key, and
/// not stored.
const PROJECTION: &str = "outbox.projection";
const MARKER_PREFIX: &str = "outbox-";
/// Attributes that metadata cannot override.
const OWN: [&str; 2] = ["data", "id"];

/// An event with the marker that will say that it is true.
pub(super) struct Announced {
    pub marker: String,
    pub event: Bytes,
}

/// What events say about their origin.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub app_id: &'a str,
    pub pubsub: &'a str,
    pub trace: Trace<'a>,
}

/// Takes the projections out of `operations`; an event for each write that is
/// left.
pub(super) fn announce(operations: &mut Vec<Operation>, origin: Origin<'_>) -> Vec<Announced> {
    let mut projections = HashMap::new();
    operations.retain(|operation| match operation {
        Operation::Upsert(request) if request.metadata.get(PROJECTION).is_some_and(|v| is_truthy(v)) => {
            projections.insert(request.key.clone(), request.clone());
            false
        }
        _ => true,
    });
    let written = operations.iter().filter_map(|operation| match operation {
        Operation::Upsert(request) => Some(request),
        Operation::Delete(_) => None,
    });
    written
        .map(|request| {
            let marker = format!("{MARKER_PREFIX}{}", uuid::Uuid::new_v4());
            let shown = projections.get(&request.key).unwrap_or(request);
            let event = event(&marker, shown, request, origin);
            Announced { marker, event }
        })
        .collect()
}

/// The write that makes an event true.
pub(super) fn marker(key: String) -> Operation {
    Operation::Upsert(SetRequest::new(key, Value::Json(Bytes::from_static(b"\"0\""))))
}

fn event(marker: &str, shown: &SetRequest, stored: &SetRequest, origin: Origin<'_>) -> Bytes {
    let content_type = shown.content_type.as_ref().or_else(|| shown.metadata.get("contentType"));
    let content_type = content_type.map(String::as_str).unwrap_or_default();
    let publish = Publish {
        source: origin.app_id,
        pubsub: origin.pubsub,
        content_type,
        data: &payload(&shown.value, content_type),
        trace_state: origin.trace.state,
        ..Publish::default()
    };
    let mut event = cloudevent::with_id(&publish, marker);
    event.insert("traceid".to_owned(), origin.trace.parent.into());
    for (key, value) in &stored.metadata {
        if !OWN.contains(&key.as_str()) {
            event.insert(key.clone(), value.as_str().into());
        }
    }
    Bytes::from(json::to_go_json(&event.into()))
}

/// JSON stays JSON only when the item says that it is JSON; otherwise the
/// value is printed (api.md §14).
fn payload(value: &Value, content_type: &str) -> Bytes {
    match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::Json(json) if content_type.eq_ignore_ascii_case("application/json") => json.clone(),
        Value::Json(json) => match serde_json::from_slice(json) {
            Ok(value) => Bytes::from(text::of_json(&value)),
            Err(_) => json.clone(),
        },
    }
}
