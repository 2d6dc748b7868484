//! Delivery of a batch of messages to the application (api.md §5.6).

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_app_channel::{AppChannel, Origin, Status};
use dapr_components::pubsub::{HandlerError, Message};
use dapr_errors::Code;
use dapr_gocompat::json;
use dapr_resiliency::{Outcome, StatusCode};
use dapr_telemetry::trace::Span;
use dapr_transport::Body;
use dapr_wire::runtime::v1 as rt;
use dapr_wire::runtime::v1::topic_event_bulk_request_entry::Event as WireEvent;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::cloudevent;
use super::deliver::{add_metadata, attribute_data, extensions};
use super::handler::Handler;
use super::ingress::{Tally, count};
use super::spans;

const SCOPE: &str = "dapr.runtime.pubsub";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Header and metadata key that names the component.
const PUBSUB_NAME: &str = "pubsubName";
const RAW_CONTENT_TYPE: &str = "application/octet-stream";
const SOME_FAILED: &str = "few message(s) have failed during bulk subscribe operation";

/// One message of a batch.
struct Entry {
    /// Its place in the batch.
    index: usize,
    id: String,
    /// `None` for raw payloads.
    event: Option<Map<String, Value>>,
}

/// Settlement of one entry; `Ok` is acknowledged.
type Settled = Result<(), String>;

/// An attempt after which some entries must be sent again.
#[derive(Debug)]
struct Attempt {
    message: String,
    status: Option<StatusCode>,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Outcome for Attempt {
    fn status(&self) -> Option<StatusCode> {
        self.status
    }
}

/// What the application said to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Success,
    Drop,
    Retry(String),
}

/// An attempt's verdicts by entry id, or the failure of all entries.
type Answer = Result<HashMap<String, Verdict>, Attempt>;

/// The outcome of every message, in their order.
pub(super) async fn deliver(handler: &Handler, messages: Vec<Message>) -> Vec<Result<(), HandlerError>> {
    let tally = Tally::default();
    let mut settled = prepare_and_send(handler, &messages, &tally).await;
    if let Some(metrics) = handler.service.metrics() {
        count(&tally.retry, settled.iter().filter(|s| s.is_err()).count());
        tally.report(metrics, &handler.route.topic);
    }
    let mut outcomes = Vec::with_capacity(messages.len());
    for (message, settled) in messages.iter().zip(settled.drain(..)) {
        outcomes.push(match settled {
            Ok(()) => Ok(()),
            Err(_) if handler.drain.is_sealed() || handler.stop.is_triggered() => {
                Err(HandlerError::Cancelled)
            }
            Err(reason) => {
                let has_dead_letter = !handler.route.dead_letter_topic.is_empty();
                if has_dead_letter && handler.dead_letter(message).await.is_ok() {
                    Ok(())
                } else {
                    Err(HandlerError::Failed(reason))
                }
            }
        });
    }
    outcomes
}

async fn prepare_and_send(handler: &Handler, messages: &[Message], tally: &Tally) -> Vec<Settled> {
    let raw = match handler.route.raw_payload() {
        Ok(raw) => raw,
        Err(error) => {
            tracing::error!(target: SCOPE, "error deserializing pubsub metadata: {error}");
            return vec![Err(error); messages.len()];
        }
    };
    let mut settled: Vec<Settled> = vec![Ok(()); messages.len()];
    let mut by_path: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for (index, message) in messages.iter().enumerate() {
        match prepare(handler, message, raw).await {
            Ok(Some((path, event))) => {
                let id = uuid::Uuid::new_v4().to_string();
                by_path.entry(path).or_default().push(Entry { index, id, event });
            }
            Ok(None) => count(&tally.drop, 1),
            Err(reason) => settled[index] = Err(reason),
        }
    }
    for (path, entries) in by_path {
        let id = uuid::Uuid::new_v4().to_string();
        let batch = Batch { handler, messages, path: &path, id: &id, raw, tally };
        batch.send(entries, &mut settled).await;
    }
    settled
}

/// Path and event of a message; `None` when it goes nowhere and is done with.
async fn prepare(
    handler: &Handler,
    message: &Message,
    raw: bool,
) -> Result<Option<(String, Option<Map<String, Value>>)>, String> {
    let (name, topic) = (&handler.loaded.name, &handler.route.topic);
    let event = if raw {
        None
    } else {
        let event =
            json::decode_whole(&message.data).map_err(|e| e.to_string()).and_then(|value| match value {
                Value::Object(event) => Ok(event),
                other => Err(json::unmarshal_type_error(json::kind_name(&other), "map[string]interface {}")),
            });
        let event = event.inspect_err(|error| {
            tracing::error!(target: SCOPE, "error deserializing one of the messages in bulk cloud event in pubsub {name} and topic {topic}: {error}");
        })?;
        if cloudevent::has_expired(&event) {
            tracing::warn!(target: SCOPE, "dropping expired pub/sub event {:?} as of {:?}", event.get("id"), event.get("expiration"));
            let _ = handler.dead_letter(message).await;
            return Ok(None);
        }
        Some(event)
    };
    let path = match &event {
        Some(event) => handler.route.find(event),
        // Expressions see the payload itself as the event (api.md §6.3).
        None => handler.route.find(&String::from_utf8_lossy(&message.data)),
    };
    match path {
        Ok(Some(path)) => Ok(Some((path.to_owned(), event))),
        Ok(None) => {
            tracing::warn!(target: SCOPE, "No matching route for event in pubsub {name} and topic {topic}; skipping");
            let _ = handler.dead_letter(message).await;
            Ok(None)
        }
        Err(error) => {
            tracing::error!(target: SCOPE, "Error finding matching route for event in bulk subscribe {name} and topic {topic}: {error}");
            Err(error.to_string())
        }
    }
}

/// Puts entries back when an attempt ends, also when it is dropped.
struct Returning<'a> {
    left: &'a Mutex<Vec<Entry>>,
    entries: Vec<Entry>,
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        *self.left.lock() = std::mem::take(&mut self.entries);
    }
}

struct Batch<'a> {
    handler: &'a Handler,
    messages: &'a [Message],
    path: &'a str,
    id: &'a str,
    raw: bool,
    tally: &'a Tally,
}

impl Batch<'_> {
    /// Sends the entries under the inbound policy; each attempt sends what the
    /// one before did not settle.
    async fn send(&self, entries: Vec<Entry>, settled: &mut [Settled]) {
        let all: Vec<usize> = entries.iter().map(|e| e.index).collect();
        let left = Mutex::new(entries);
        // Why the entries that are left were not taken.
        let reasons: Mutex<HashMap<usize, String>> = Mutex::default();
        let run = self.handler.loaded.inbound.run(|_| async {
            let sending = std::mem::take(&mut *left.lock());
            // An attempt that is cut short leaves everything to the next one.
            let mut sending = Returning { left: &left, entries: sending };
            let started = Instant::now();
            let answer = self.attempt(&sending.entries).await;
            *self.tally.elapsed.lock() = started.elapsed();
            let verdicts = match answer {
                Ok(verdicts) => verdicts,
                Err(attempt) => {
                    let mut reasons = reasons.lock();
                    reasons.extend(sending.entries.iter().map(|e| (e.index, attempt.message.clone())));
                    return Err(attempt);
                }
            };
            let mut failed = Vec::new();
            for entry in std::mem::take(&mut sending.entries) {
                match verdicts.get(&entry.id) {
                    Some(Verdict::Success) => count(&self.tally.success, 1),
                    Some(Verdict::Drop) => {
                        count(&self.tally.drop, 1);
                        tracing::warn!(target: SCOPE, "DROP status returned from app while processing pub/sub event {}", entry.id);
                        let _ = self.handler.dead_letter(&self.messages[entry.index]).await;
                    }
                    Some(Verdict::Retry(reason)) => {
                        reasons.lock().insert(entry.index, reason.clone());
                        failed.push(entry);
                    }
                    None => {
                        let reason = format!(
                            "response not received, RETRY required while processing bulk subscribe event for entry id: {}",
                            entry.id
                        );
                        reasons.lock().insert(entry.index, reason);
                        failed.push(entry);
                    }
                }
            }
            if failed.is_empty() {
                return Ok(());
            }
            sending.entries = failed;
            Err(Attempt { message: SOME_FAILED.to_owned(), status: None })
        });
        let Err(error) = run.await else { return };
        let reasons = reasons.into_inner();
        let left: Vec<usize> = left.into_inner().iter().map(|e| e.index).collect();
        for index in all {
            if left.contains(&index) {
                settled[index] = Err(reasons.get(&index).cloned().unwrap_or_else(|| error.to_string()));
            }
        }
    }

    async fn attempt(&self, entries: &[Entry]) -> Answer {
        let Some(channel) = self.handler.service.0.app.load_full() else {
            return Err(Attempt { message: "app channel is not initialized".to_owned(), status: None });
        };
        let (tracer, topic) = (&self.handler.service.0.options.tracer, &self.handler.route.topic);
        let events = entries.iter().filter_map(|e| e.event.as_ref());
        let mut spans: Vec<Span> = events.map(|event| spans::delivery(tracer, event, topic)).collect();
        // One request has one parent: the last of those that its events have.
        let mut headers = HeaderMap::new();
        spans.iter().for_each(|span| span.write_http(&mut headers));
        let answer = match channel.grpc() {
            Some(_) => self.over_grpc(&channel, entries, &headers).await,
            None => self.over_http(&channel, entries, headers).await,
        };
        if let Err(attempt) = &answer {
            spans.iter_mut().for_each(|span| span.fail(attempt.message.as_str()));
        }
        answer
    }

    async fn over_http(&self, channel: &AppChannel, entries: &[Entry], mut headers: HeaderMap) -> Answer {
        if let Ok(name) = HeaderValue::try_from(&*self.handler.loaded.name) {
            headers.insert(HeaderName::from_static("pubsubname"), name);
        }
        let request = dapr_app_channel::InvokeRequest {
            method: self.path.trim_start_matches('/').to_owned(),
            verb: Method::POST,
            query: String::new(),
            headers,
            content_type: Some(JSON),
            type_url: String::new(),
            origin: Origin::Http,
            body: Body::from(Bytes::from(self.to_json(entries))),
        };
        let retry = |message: String| Attempt { message, status: None };
        let response = channel
            .invoke(request)
            .await
            .map_err(|e| retry(format!("error from app channel while sending pub/sub event to app: {e}")))?;
        let Status::Http(status) = response.status else {
            return Err(retry("the application did not answer over HTTP".to_owned()));
        };
        let body = response.body.collect().await.unwrap_or_default();
        match status {
            200..300 => read_statuses(&body)
                .map_err(|e| retry(format!("failed unmarshalling app response for bulk subscribe: {e}"))),
            404 => {
                tracing::error!(target: SCOPE, "Non-retriable error returned from app while processing bulk pub/sub event. status code returned: {status}");
                Ok(entries.iter().map(|e| (e.id.clone(), Verdict::Success)).collect())
            }
            _ => {
                let message = format!(
                    "Retriable error returned from app while processing bulk pub/sub event, topic: {}. status code returned: {status}",
                    self.handler.route.topic
                );
                tracing::warn!(target: SCOPE, "{message}");
                Err(retry(message))
            }
        }
    }

    /// The envelope, its keys in the order of their names.
    fn to_json(&self, entries: &[Entry]) -> String {
        let size: usize = entries.iter().map(|e| self.messages[e.index].data.len() + 128).sum();
        let mut out = String::with_capacity(size + 256);
        out.push_str("{\"entries\":[");
        for (i, entry) in entries.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            self.entry_json(entry, &mut out);
        }
        let (name, topic) =
            (json::escape_str(&self.handler.loaded.name), json::escape_str(&self.handler.route.topic));
        out.push_str(&format!(
            "],\"id\":\"{}\",\"metadata\":{{\"{PUBSUB_NAME}\":{name}}},\"pubsubname\":{name},\"topic\":{topic},\"type\":\"{}\"}}",
            self.id,
            cloudevent::BULK_TYPE
        ));
        out
    }

    fn entry_json(&self, entry: &Entry, out: &mut String) {
        let message = &self.messages[entry.index];
        out.push_str("{\"entryId\":\"");
        out.push_str(&entry.id);
        out.push_str("\",\"event\":");
        match &entry.event {
            Some(event) => {
                out.push_str(&String::from_utf8_lossy(&json::to_go_json(&Value::Object(event.clone()))))
            }
            None => out.push_str(&json::escape_str(&STANDARD.encode(&message.data))),
        }
        out.push_str(",\"metadata\":");
        let metadata = message.metadata.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        out.push_str(&String::from_utf8_lossy(&json::to_go_json(&Value::Object(metadata))));
        let default = if self.raw { RAW_CONTENT_TYPE } else { cloudevent::CONTENT_TYPE };
        let content_type = message.content_type.as_deref().filter(|t| !t.is_empty()).unwrap_or(default);
        out.push_str(",\"contentType\":");
        out.push_str(&json::escape_str(content_type));
        out.push('}');
    }

    async fn over_grpc(&self, channel: &AppChannel, entries: &[Entry], headers: &HeaderMap) -> Answer {
        let retry = |message: &str| Attempt { message: message.to_owned(), status: None };
        let grpc = channel.grpc().ok_or_else(|| retry("app channel is not initialized"))?;
        if !channel.health().takes_calls() {
            return Err(retry("app is not in a healthy state"));
        }
        let _slot = channel.slot().await;
        let (message, mut verdicts) = self.to_grpc(entries);
        let request = || {
            let mut request = tonic::Request::new(message.clone());
            if let Ok(name) = self.handler.loaded.name.parse() {
                request.metadata_mut().insert("pubsubname", name);
            }
            add_metadata(&mut request, headers);
            grpc.authorize(request.metadata_mut());
            request
        };
        let mut answer = grpc.callbacks().on_bulk_topic_event(request()).await;
        if let Err(status) = &answer
            && status.code() == tonic::Code::Unimplemented
        {
            tracing::warn!(target: SCOPE, "falling back to OnBulkTopicEventAlpha1 due to unimplemented error: {status}");
            answer = grpc.alpha_callbacks().on_bulk_topic_event_alpha1(request()).await;
        }
        match answer {
            Ok(answer) => {
                verdicts.extend(answer.into_inner().statuses.into_iter().map(|s| {
                    let verdict = judge_grpc(s.status, &s.entry_id);
                    (s.entry_id, verdict)
                }));
                Ok(verdicts)
            }
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                tracing::warn!(target: SCOPE, "non-retriable error returned from app while processing bulk pub/sub event: {status}");
                Ok(entries.iter().map(|e| (e.id.clone(), Verdict::Success)).collect())
            }
            Err(status) => {
                let code = Code::from_i32(status.code() as i32);
                let nested = dapr_errors::grpc_nested(code, status.message());
                Err(Attempt {
                    message: format!("error returned from app while processing bulk pub/sub event: {nested}"),
                    status: Some(StatusCode::grpc(code as i32)),
                })
            }
        }
    }

    /// The request, and verdicts on entries that cannot be part of it.
    fn to_grpc(&self, entries: &[Entry]) -> (rt::TopicEventBulkRequest, HashMap<String, Verdict>) {
        let mut unfit = HashMap::new();
        let mut wire = Vec::with_capacity(entries.len());
        for entry in entries {
            let message = &self.messages[entry.index];
            let event = match &entry.event {
                None => WireEvent::Bytes(message.data.clone()),
                Some(event) => match wire_event(event) {
                    Ok(event) => WireEvent::CloudEvent(event),
                    Err(reason) => {
                        unfit.insert(entry.id.clone(), Verdict::Retry(reason));
                        continue;
                    }
                },
            };
            wire.push(rt::TopicEventBulkRequestEntry {
                entry_id: entry.id.clone(),
                content_type: message.content_type.clone().unwrap_or_default(),
                metadata: message.metadata.clone(),
                event: Some(event),
            });
        }
        let name = self.handler.loaded.name.to_string();
        let request = rt::TopicEventBulkRequest {
            id: self.id.to_owned(),
            entries: wire,
            metadata: HashMap::from([(PUBSUB_NAME.to_owned(), name.clone())]),
            topic: self.handler.route.topic.clone(),
            pubsub_name: name,
            r#type: cloudevent::BULK_TYPE.to_owned(),
            path: self.path.to_owned(),
        };
        (request, unfit)
    }
}

fn wire_event(event: &Map<String, Value>) -> Result<rt::TopicEventCeRequest, String> {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let content_type = text("datacontenttype");
    let data = match event.get("data_base64").and_then(Value::as_str) {
        Some(encoded) => STANDARD.decode(encoded).map(Bytes::from).map_err(|e| e.to_string())?,
        None => attribute_data(event.get("data"), &content_type)?,
    };
    Ok(rt::TopicEventCeRequest {
        id: text("id"),
        source: text("source"),
        r#type: text("type"),
        spec_version: text("specversion"),
        data_content_type: content_type,
        data,
        extensions: Some(extensions(event)),
    })
}

/// `{"statuses":[{"entryId","status"}]}`; of several verdicts on one entry the
/// last counts.
fn read_statuses(body: &[u8]) -> Result<HashMap<String, Verdict>, String> {
    let (value, _) = json::decode_first(body).map_err(|e| e.to_string())?;
    let statuses = match value {
        Value::Object(mut map) => take(&mut map, "statuses"),
        Value::Null => Value::Null,
        other => return Err(json::unmarshal_type_error(json::kind_name(&other), "pubsub.AppBulkResponse")),
    };
    let statuses = match statuses {
        Value::Array(statuses) => statuses,
        Value::Null => Vec::new(),
        other => {
            let kind = json::kind_name(&other);
            return Err(json::unmarshal_field_error(
                kind,
                "AppBulkResponse.statuses",
                "[]pubsub.AppBulkResponseEntry",
            ));
        }
    };
    let mut verdicts = HashMap::with_capacity(statuses.len());
    for status in statuses {
        let Value::Object(mut fields) = status else {
            let kind = json::kind_name(&status);
            return Err(json::unmarshal_field_error(
                kind,
                "AppBulkResponse.statuses",
                "pubsub.AppBulkResponseEntry",
            ));
        };
        let id = text(take(&mut fields, "entryId"), "entryId")?;
        let verdict = judge_http(&text(take(&mut fields, "status"), "status")?, &id);
        verdicts.insert(id, verdict);
    }
    Ok(verdicts)
}

/// A field, its name in any case.
fn take(fields: &mut Map<String, Value>, name: &str) -> Value {
    let found =
        fields.keys().find(|k| *k == name).or_else(|| fields.keys().find(|k| k.eq_ignore_ascii_case(name)));
    let found = found.cloned();
    found.and_then(|key| fields.remove(&key)).unwrap_or_default()
}

fn text(value: Value, field: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => {
            let kind = json::kind_name(&other);
            Err(json::unmarshal_field_error(
                kind,
                &format!("AppBulkResponseEntry.statuses.{field}"),
                "string",
            ))
        }
    }
}

fn judge_http(status: &str, id: &str) -> Verdict {
    match status {
        "SUCCESS" => Verdict::Success,
        "DROP" => Verdict::Drop,
        "" | "RETRY" => {
            Verdict::Retry(format!("RETRY required while processing bulk subscribe event for entry id: {id}"))
        }
        other => Verdict::Retry(format!(
            "unknown status returned from app while processing bulk subscribe event {id}: {other}"
        )),
    }
}

fn judge_grpc(status: i32, id: &str) -> Verdict {
    match status {
        0 => Verdict::Success,
        2 => Verdict::Drop,
        1 => Verdict::Retry(format!(
            "RETRY status returned from app while processing pub/sub event for entry id: {id}"
        )),
        other => Verdict::Retry(format!(
            "unknown status returned from app while processing pub/sub event  for entry id {id}: {other}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_without_regard_to_case_and_only_success_succeeds() {
        let read = read_statuses(
            br#"{"Statuses":[{"entryId":"1","status":"SUCCESS"},{"entryID":"2","status":"DROP"},{"entryId":"3"},{"entryId":"4","status":"ODD"}]} x"#,
        )
        .unwrap();
        assert_eq!((&read["1"], &read["2"]), (&Verdict::Success, &Verdict::Drop));
        assert!(matches!(read["3"], Verdict::Retry(_)) && matches!(read["4"], Verdict::Retry(_)));
        for bad in [&b""[..], b"ok", b"[]", br#"{"statuses":{}}"#, br#"{"statuses":[{"status":1}]}"#] {
            assert!(read_statuses(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn grpc_statuses() {
        assert_eq!(judge_grpc(0, "i"), Verdict::Success);
        assert_eq!(judge_grpc(2, "i"), Verdict::Drop);
        assert!(
            matches!(judge_grpc(1, "i"), Verdict::Retry(_))
                && matches!(judge_grpc(9, "i"), Verdict::Retry(_))
        );
    }
}
