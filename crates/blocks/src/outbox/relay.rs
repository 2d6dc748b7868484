//! The reader of an internal topic.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::pubsub::{HandlerError, Message, MessageHandler};
use dapr_components::state::{DeleteRequest, GetRequest};
use dapr_gocompat::json;
use dapr_kernel::Shutdown;
use serde_json::{Map, Value};

use super::config::Config;
use crate::pubsub::PubSubService;
use crate::state::StateService;

const SCOPE: &str = "dapr.outbox";
/// Time that a transaction usually has ended in.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Pauses between looks at a marker that is not there: no more than ten
/// seconds together.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3), Duration::from_secs(3)];

pub(super) struct Relay {
    pub store: String,
    pub config: Arc<Config>,
    pub pubsub: PubSubService,
    pub state: StateService,
    pub stop: Shutdown,
}

#[async_trait]
impl MessageHandler for Relay {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let failed = |reason: String| HandlerError::Failed(reason);
        let mut event: Map<String, Value> =
            serde_json::from_slice(&message.data).map_err(|e| failed(e.to_string()))?;
        let marker = event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        // What is only waiting can be left to the next reader; what is being
        // published is finished.
        match self.stop.guard(self.wait_for(&marker)).await {
            None => return Err(HandlerError::Cancelled),
            Some(Ok(())) => {}
            Some(Err(reason)) => return self.missing(&reason),
        }
        self.publish(&mut event).await.map_err(failed)?;
        self.forget(&marker).await.map_err(failed)
    }
}

impl Relay {
    async fn wait_for(&self, marker: &str) -> Result<(), String> {
        tokio::time::sleep(FIRST_LOOK).await;
        retrying(|| self.look(marker)).await
    }

    async fn look(&self, marker: &str) -> Result<(), String> {
        let store = self.state.store(&self.store, false);
        let store =
            store.map_err(|_| format!("cannot get outbox state: state store {} not found", self.store))?;
        let request = GetRequest { key: marker.to_owned(), ..GetRequest::default() };
        match store.store.get(&request).await.map_err(|e| e.to_string())? {
            Some(found) if !found.data.is_empty() => Ok(()),
            _ => Err(format!(
                "cannot publish outbox message to topic {} with pubsub {}: outbox state not found",
                self.config.publish_topic, self.config.publish_pubsub
            )),
        }
    }

    fn missing(&self, reason: &str) -> Result<(), HandlerError> {
        let pubsub = &self.config.publish_pubsub;
        if self.config.discard_when_missing {
            tracing::error!(target: SCOPE, "failed to publish outbox topic to pubsub {pubsub}: {reason}, discarding message");
            return Ok(());
        }
        tracing::error!(
            target: SCOPE,
            "failed to publish outbox topic to pubsub {pubsub}: {reason}, rejecting for later processing"
        );
        Err(HandlerError::Failed(reason.to_owned()))
    }

    async fn publish(&self, event: &mut Map<String, Value>) -> Result<(), String> {
        let Config { publish_pubsub, publish_topic, .. } = &*self.config;
        event.insert("topic".to_owned(), publish_topic.as_str().into());
        event.insert("pubsubname".to_owned(), publish_pubsub.as_str().into());
        let content_type = event.get("datacontenttype").and_then(Value::as_str).map(str::to_owned);
        let data = Bytes::from(json::to_go_json(&Value::Object(std::mem::take(event))));
        self.pubsub.publish_event(publish_pubsub, publish_topic, data, content_type).await
    }

    async fn forget(&self, marker: &str) -> Result<(), String> {
        retrying(|| async {
            let store = self.state.store(&self.store, false).map_err(|e| e.to_string())?;
            let request = DeleteRequest { key: marker.to_owned(), ..DeleteRequest::default() };
            store.store.delete(&request).await.map_err(|e| e.to_string())
        })
        .await
    }
}

/// The last failure when all tries failed.
async fn retrying<F>(mut attempt: impl FnMut() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    for pause in PAUSES {
        if attempt().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
    attempt().await
}
