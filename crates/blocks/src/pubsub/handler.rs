//! One running subscription: from a broker's message to its outcome
//! (api.md §5.5, §6.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::pubsub::{HandlerError, Message, MessageHandler, PublishRequest, RequestMetadata};
use dapr_kernel::Shutdown;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::cloudevent;
use super::deliver::{self, DeliveryError, Event};
use super::ingress::{DROP, RETRY, SUCCESS};
use super::route::SharedRoute;
use super::service::{Loaded, PubSubService};

const SCOPE: &str = "dapr.runtime.pubsub";
/// Metadata key under which the content type travels.
const CONTENT_TYPE_KEY: &str = "content-type";
const BINARY_PREFIX: &str = "ce_";

/// Counts messages in flight so that a stop can wait for them.
#[derive(Debug, Default)]
pub struct Drain {
    in_flight: AtomicUsize,
    sealed: AtomicBool,
    idle: Notify,
}

impl Drain {
    /// `None` once sealed: the message must stay unsettled.
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let guard = InFlight(self.clone());
        (!self.sealed.load(Ordering::Acquire)).then_some(guard)
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Bars new messages and waits for those in flight; false on timeout.
    pub async fn seal_and_wait(&self, limit: Duration) -> bool {
        self.sealed.store(true, Ordering::Release);
        let wait = async {
            loop {
                let idle = self.idle.notified();
                if self.in_flight.load(Ordering::Acquire) == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

/// One message in flight.
pub struct InFlight(Arc<Drain>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How an event reaches the subscriber.
#[async_trait]
pub(super) trait Postman: Send + Sync + 'static {
    /// Whether delivery needs the parsed event.
    fn needs_event(&self) -> bool;

    async fn deliver(&self, event: &Event) -> Result<(), DeliveryError>;
}

pub(super) struct Handler {
    pub service: PubSubService,
    pub loaded: Arc<Loaded>,
    pub route: SharedRoute,
    pub postman: Arc<dyn Postman>,
    pub drain: Arc<Drain>,
    pub stop: Shutdown,
}

#[async_trait]
impl MessageHandler for Handler {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let Some(_in_flight) = self.drain.enter() else { return Err(HandlerError::Cancelled) };
        let outcome = self.process(message).await;
        match outcome {
            Err(HandlerError::Failed(_)) if self.drain.is_sealed() || self.stop.is_triggered() => {
                Err(HandlerError::Cancelled)
            }
            other => other,
        }
    }
}

/// A message read as far as its delivery needs.
struct Read {
    event: Map<String, Value>,
    data: Bytes,
}

impl Handler {
    async fn process(&self, mut message: Message) -> Result<(), HandlerError> {
        if let Some(content_type) = &message.content_type {
            message.metadata.insert(CONTENT_TYPE_KEY.to_owned(), content_type.clone());
        }
        message.metadata.insert("pubsubName".to_owned(), self.loaded.name.to_string());
        let topic = self.caller_topic(&message.topic);
        let read = match self.read(&message, &topic) {
            Ok(read) => read,
            Err(error) => {
                let name = &self.loaded.name;
                tracing::error!(target: SCOPE, "error deserializing cloud event in pubsub {name} and topic {topic}: {error}");
                return self.give_up(&message, &message.metadata, &topic, error).await;
            }
        };
        if cloudevent::has_expired(&read.event) {
            let text = |key: &str| read.event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            tracing::warn!(target: SCOPE, "dropping expired pub/sub event {} as of {}", text("id"), text("expiration"));
            self.service.ended(&self.loaded, &topic, DROP, None);
            let _ = self.dead_letter(&message).await;
            return Ok(());
        }
        let path = match self.route.find(&read.event) {
            Ok(Some(path)) => path.to_owned(),
            Ok(None) => {
                tracing::debug!(target: SCOPE, "no matching route for event {:?} in pubsub {} and topic {topic}; skipping", read.event.get("id"), self.loaded.name);
                self.service.ended(&self.loaded, &topic, DROP, Some(SUCCESS));
                let _ = self.dead_letter(&message).await;
                return Ok(());
            }
            Err(error) => {
                tracing::error!(target: SCOPE, "error finding matching route for event {:?} in pubsub {} and topic {topic}: {error}", read.event.get("id"), self.loaded.name);
                return self.give_up(&message, &message.metadata, &topic, error.to_string()).await;
            }
        };
        let event = Event {
            attributes: read.event,
            data: read.data,
            topic,
            pubsub: self.loaded.name.clone(),
            path,
            metadata: std::mem::take(&mut message.metadata),
        };
        match self.deliver(&event, &message).await {
            Ok(()) => Ok(()),
            Err(reason) => {
                if self.drain.is_sealed() || self.stop.is_triggered() {
                    return Err(HandlerError::Cancelled);
                }
                self.give_up(&message, &event.metadata, &event.topic, reason).await
            }
        }
    }

    /// Delivery under the inbound policy; dropped events count as delivered.
    /// The message's metadata are the event's by now.
    async fn deliver(&self, event: &Event, message: &Message) -> Result<(), String> {
        let attempt = |_| async {
            match self.postman.deliver(event).await {
                Err(dropped @ (DeliveryError::Dropped | DeliveryError::NoRoute)) => {
                    if self.route.dead_letter_topic.is_empty()
                        || self.dead_letter_with(message, &event.metadata).await.is_ok()
                    {
                        return Ok(());
                    }
                    Err(dropped)
                }
                Err(error) => {
                    tracing::warn!(target: SCOPE, "encountered a retriable error while publishing a subscribed message to topic {}, err: {error}", event.topic);
                    Err(error)
                }
                Ok(()) => Ok(()),
            }
        };
        self.loaded.inbound.run(attempt).await.map_err(|e| e.to_string())
    }

    /// Dead letter if there is one, else the component decides.
    async fn give_up(
        &self,
        message: &Message,
        metadata: &RequestMetadata,
        topic: &str,
        reason: String,
    ) -> Result<(), HandlerError> {
        if !self.route.dead_letter_topic.is_empty() && self.dead_letter_with(message, metadata).await.is_ok()
        {
            self.service.ended(&self.loaded, topic, DROP, None);
            return Ok(());
        }
        self.service.ended(&self.loaded, topic, RETRY, None);
        Err(HandlerError::Failed(reason))
    }

    pub(super) async fn dead_letter(&self, message: &Message) -> Result<(), ()> {
        self.dead_letter_with(message, &message.metadata).await
    }

    async fn dead_letter_with(&self, message: &Message, metadata: &RequestMetadata) -> Result<(), ()> {
        if self.route.dead_letter_topic.is_empty() {
            return Ok(());
        }
        let request = PublishRequest {
            topic: String::new(),
            data: message.data.clone(),
            metadata: metadata.clone(),
            content_type: message.content_type.clone(),
        };
        self.service.dead_letter(&self.loaded, &self.route.dead_letter_topic, &message.topic, request).await
    }

    fn caller_topic(&self, broker: &str) -> String {
        if self.loaded.config.namespace_scoped {
            broker.replacen(self.service.0.options.identity.namespace(), "", 1)
        } else {
            broker.to_owned()
        }
    }

    fn read(&self, message: &Message, topic: &str) -> Result<Read, String> {
        if self.route.raw_payload()? {
            let event = cloudevent::from_raw(&message.data, topic, &self.loaded.name, &message.metadata);
            let data = dapr_gocompat::json::to_go_json(&Value::Object(event.clone()));
            return Ok(Read { event, data: Bytes::from(data) });
        }
        let content_type = message.metadata.get(CONTENT_TYPE_KEY).map_or("application/json", String::as_str);
        if cloudevent::is_binary(content_type) {
            return Ok(Read { event: binary_event(message, content_type), data: message.data.clone() });
        }
        let full = self.route.needs_event() || self.postman.needs_event();
        let mut event = if full { parse(&message.data)? } else { peek(&message.data)? };
        cloudevent::complete_trace(&mut event, &message.metadata);
        Ok(Read { event, data: message.data.clone() })
    }
}

fn parse(data: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(data).map_err(|e| e.to_string())
}

/// Only what a delivery over HTTP without expressions looks at; the rest is
/// checked to be JSON and not kept. `traceid` counts where `traceparent` is missing.
fn peek(data: &[u8]) -> Result<Map<String, Value>, String> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        id: Option<Value>,
        expiration: Option<Value>,
        #[serde(borrow)]
        traceid: Option<&'a RawValue>,
        traceparent: Option<Value>,
    }
    let head: Head<'_> = serde_json::from_slice(data).map_err(|e| e.to_string())?;
    let trace_id = head.traceid.filter(|_| head.traceparent.is_none());
    let trace_id: Option<Value> = match trace_id {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|e| e.to_string())?,
        None => None,
    };
    let mut out = Map::new();
    for (key, value) in [
        ("id", head.id),
        ("expiration", head.expiration),
        ("traceid", trace_id),
        ("traceparent", head.traceparent),
    ] {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    }
    Ok(out)
}

/// A binary-mode event: attributes in metadata, data as it is.
fn binary_event(message: &Message, content_type: &str) -> Map<String, Value> {
    let mut event = Map::new();
    for (key, value) in &message.metadata {
        let lower = key.to_ascii_lowercase();
        if let Some(attribute) = lower.strip_prefix(BINARY_PREFIX) {
            event.insert(attribute.to_owned(), value.as_str().into());
        }
    }
    event.insert("datacontenttype".to_owned(), content_type.into());
    event.insert(deliver::BINARY_DATA.to_owned(), Value::Null);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sealing_waits_for_messages_in_flight() {
        let drain = Arc::new(Drain::default());
        let busy = drain.enter().unwrap();
        assert!(!drain.seal_and_wait(Duration::from_millis(20)).await);
        assert!(drain.enter().is_none());
        drop(busy);
        assert!(drain.seal_and_wait(Duration::from_secs(5)).await);
    }

    #[test]
    fn peeking_keeps_what_counts_and_refuses_what_is_no_object() {
        let head = peek(br#"{"id":"1","data":{"x":[1,2]},"expiration":"e"}"#).unwrap();
        assert_eq!(head.len(), 2);
        let traced =
            |event: &[u8]| super::super::spans::traceparent(&peek(event).unwrap()).map(str::to_owned);
        assert_eq!(traced(br#"{"traceid":"i","traceparent":"p"}"#).as_deref(), Some("p"));
        assert_eq!(traced(br#"{"traceid":"i","traceparent":null}"#).as_deref(), Some("i"));
        assert_eq!(traced(br#"{"traceid":null,"tracestate":"s"}"#), None);
        assert!(peek(b"[1]").is_err());
        assert!(peek(b"{\"a\":").is_err());
    }
}
