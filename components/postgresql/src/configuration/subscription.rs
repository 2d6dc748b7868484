//! Changes of one subscription, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use dapr_components::configuration::{Error, Item, Items, UpdateHandler};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio_postgres::{Client, Notification};

use super::{plain, to_metadata};
use crate::pool;
use crate::settings::Settings;

/// Pause before a lost connection is made again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Longest time for connecting again.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Subscription {
    pub(super) settings: Settings,
    pub(super) channel: String,
    /// Empty for all.
    pub(super) keys: Vec<String>,
    pub(super) handler: Arc<dyn UpdateHandler>,
}

/// The client is kept for the connection to stay.
pub(super) type Listening = (Client, BoxStream<'static, Notification>);

impl Subscription {
    pub(super) async fn open(&self) -> Result<Listening, Error> {
        let connected = pool::listen(&self.settings).await;
        let (client, mut notifications) =
            connected.map_err(|e| Error::new(format!("error acquiring connection: {e}")))?;
        let command = format!("LISTEN \"{}\"", self.channel);
        // The statement is answered while the connection is driven.
        let outcome = {
            let mut listen = std::pin::pin!(client.batch_execute(&command));
            loop {
                tokio::select! {
                    outcome = &mut listen => break outcome.map_err(|e| pool::text(&e)),
                    first = notifications.next() => {
                        match first {
                            Some(notification) => self.tell(&notification).await,
                            None => break Err("the connection was closed".to_owned()),
                        }
                    }
                }
            }
        };
        outcome.map_err(|e| Error::new(format!("error listening to channel: {e}")))?;
        Ok((client, notifications))
    }

    pub(super) async fn run(self, listening: Listening) {
        let (mut client, mut notifications) = listening;
        loop {
            while let Some(notification) = notifications.next().await {
                self.tell(&notification).await;
            }
            drop(client);
            tracing::warn!(
                target: "dapr.contrib",
                "the connection that listens to {} was lost; changes meanwhile are not announced", self.channel
            );
            (client, notifications) = loop {
                tokio::time::sleep(RECONNECT).await;
                match tokio::time::timeout(CONNECT_LIMIT, self.open()).await {
                    Ok(Ok(listening)) => break listening,
                    Ok(Err(error)) => {
                        tracing::debug!(target: "dapr.contrib", "configuration subscription: {error}");
                    }
                    Err(_) => {
                        tracing::debug!(target: "dapr.contrib", "configuration subscription: no answer")
                    }
                }
            };
        }
    }

    async fn tell(&self, notification: &Notification) {
        if notification.channel() != self.channel {
            return;
        }
        match changed(notification.payload()) {
            Some((key, item)) if self.keys.is_empty() || self.keys.contains(&key) => {
                self.handler.handle(Items::from([(key, item)])).await;
            }
            Some((key, _)) => {
                tracing::debug!(target: "dapr.contrib", "ignoring notification for {key}");
            }
            None => tracing::info!(
                target: "dapr.contrib",
                "unknown format of data received in notify event - '{}'", notification.payload()
            ),
        }
    }
}

/// The row in the payload's `data`; names of columns in any case.
fn changed(payload: &str) -> Option<(String, Item)> {
    let Value::Object(mut payload) = serde_json::from_str(payload).ok()? else { return None };
    let Value::Object(row) = payload.remove("data")? else { return None };
    let (mut key, mut item) = (None, Item::default());
    for (name, value) in row {
        match name.to_ascii_lowercase().as_str() {
            "key" => key = Some(plain(value)),
            "value" => item.value = plain(value),
            "version" => item.version = plain(value),
            "metadata" => item.metadata = to_metadata(value),
            _ => {}
        }
    }
    Some((key?, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_row_counts() {
        let payload = r#"{"table":"t","action":"UPDATE","data":{"KEY":"k","value":"v","version":1,"metadata":{"a":"b"},"more":0}}"#;
        let (key, item) = changed(payload).unwrap();
        assert_eq!((key.as_str(), item.value.as_str(), item.version.as_str()), ("k", "v", "1"));
        assert_eq!(item.metadata["a"], "b");
        for payload in ["", "[]", "{}", r#"{"data":"k"}"#, r#"{"data":{"value":"v"}}"#] {
            assert!(changed(payload).is_none(), "{payload}");
        }
    }
}
