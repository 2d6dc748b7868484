//! `pubsub.sqlite`: a durable message bus for all processes of one machine,
//! in one file. See [`PubSub`] for what it promises.

mod ledger;
mod options;
mod store;
mod subscription;
#[cfg(test)]
mod tests;
mod tidy;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use dapr_components::pubsub::{
    self, BulkPublishRequest, Error, FailedEntry, Feature, MessageHandler, PublishRequest, RequestMetadata,
    SubscribeRequest,
};
use dapr_components::ttl::message_ttl;
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;

use crate::database::{self, Database, Write};
use crate::migrations::Migrations;
use crate::wake::Wake;
pub(crate) use options::MAX_CONCURRENCY;
use options::PubSubOptions;
use store::{NewMessage, Store};
use subscription::Subscription;
use tidy::Tidy;

/// How long `close` lets handlers finish.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The bus.
///
/// * A publish that was acknowledged is on disk. Every consumer group of the
///   topic gets it at least once, whatever process is killed at whatever time.
/// * A consumer group is a `consumerID`. It gets what is published after its
///   first subscription to a topic, from then on also while none of its
///   consumers runs. Publishing to a topic that never had a subscription
///   drops the message.
/// * Consumers of a group share its messages. Handling starts in the order of
///   publishing, up to `concurrency` at a time; `concurrency: 1` is strict.
/// * A message whose handler fails comes back after a growing delay, one that
///   was given up because of a shutdown comes back at once, and what a killed
///   process had taken comes back after `redeliverInterval`.
/// * Messages that every group has handled are deleted, others after
///   `messageTTL` or their own `ttlInSeconds`.
pub struct PubSub {
    database: Database,
    store: Arc<Store>,
    options: Arc<PubSubOptions>,
    wake: Wake,
    tidy: Tidy,
    tasks: TaskGroup,
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        Self::Retriable(error.to_string())
    }
}

/// Milliseconds since 1970: how the file stores times.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Reads the metadata as a constructor would.
#[cfg(test)]
pub(crate) fn check_metadata(properties: &dapr_components::Properties) -> Result<(), InitError> {
    PubSubOptions::new(properties, "me").map(|_| ())
}

impl PubSub {
    /// Opens or creates the database; see `docs/components/pubsub.sqlite.md`
    /// for the metadata.
    pub async fn open(context: InitContext) -> Result<Self, InitError> {
        let options = PubSubOptions::new(&context.properties, context.identity.app_id())?;
        let store = Store::new(&options.table);
        let steps = [store.create_tables()];
        let metadata_table = options.metadata_table.clone();
        let key = format!("{}-migrations", options.table);
        let wake = Wake::new();
        let (ring, attached) = (wake.clone(), wake.clone());
        let shared = !options.connection.in_memory();
        let database = Database::open_with(
            options.connection.clone(),
            move |connection| {
                Migrations { metadata_table: &metadata_table, key: &key, steps: &steps }
                    .perform(connection)?;
                if let Some(path) = connection.path().filter(|path| shared && !path.is_empty()) {
                    attached.attach(path.into());
                }
                Ok(())
            },
            Some(Box::new(move || ring.ring())),
        )
        .await?;
        let tasks = TaskGroup::new(context.tasks.shutdown().child());
        let store = Arc::new(store);
        let tidy = Tidy::start(database.clone(), store.clone(), &tasks);
        Ok(Self { database, store, options: Arc::new(options), wake, tidy, tasks })
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.tasks.shutdown().is_triggered() { Err(Error::Closed) } else { Ok(()) }
    }

    fn message(
        &self,
        topic: &str,
        data: bytes::Bytes,
        metadata: &RequestMetadata,
    ) -> Result<NewMessage, Error> {
        let ttl = message_ttl(metadata).map_err(Error::Other)?;
        let lifetime = match (ttl, self.options.message_ttl) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        };
        let metadata = if metadata.is_empty() {
            None
        } else {
            let text = serde_json::to_string(metadata);
            Some(text.map_err(|e| Error::Other(format!("metadata of a message to {topic}: {e}")))?)
        };
        Ok(NewMessage {
            topic: topic.to_owned(),
            data,
            metadata,
            expires_at: lifetime.map(|ttl| now_ms().saturating_add(millis(ttl))),
        })
    }
}

#[async_trait]
impl pubsub::PubSub for PubSub {
    fn features(&self) -> &[Feature] {
        &[Feature::MessageTtl, Feature::BulkPubSub]
    }

    async fn publish(&self, request: PublishRequest) -> Result<(), Error> {
        self.check_open()?;
        let message = self.message(&request.topic, request.data, &request.metadata)?;
        let store = self.store.clone();
        // The second statement failing leaves a gap in the numbers, no more.
        self.database
            .write(Write::Single, move |connection| store.publish(connection, &message))
            .await
            .map_err(Error::from)
    }

    /// All entries or none.
    async fn bulk_publish(&self, request: &BulkPublishRequest) -> Option<Result<Vec<FailedEntry>, Error>> {
        let publish = async {
            self.check_open()?;
            let mut messages = Vec::with_capacity(request.entries.len());
            for entry in &request.entries {
                let merged;
                let metadata = if entry.metadata.is_empty() {
                    &request.metadata
                } else {
                    let mut all = request.metadata.clone();
                    all.extend(entry.metadata.clone());
                    merged = all;
                    &merged
                };
                messages.push(self.message(&request.topic, entry.event.clone(), metadata)?);
            }
            let store = self.store.clone();
            self.database
                .write(Write::Atomic, move |connection| {
                    messages.iter().try_for_each(|message| store.publish(connection, message))
                })
                .await
                .map_err(Error::from)
        };
        Some(publish.await.map(|()| Vec::new()))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), Error> {
        self.check_open()?;
        self.wake.watch();
        let (store, topic, group) =
            (self.store.clone(), request.topic.clone(), self.options.consumer_id.clone());
        let member = self
            .database
            .write(Write::Atomic, move |connection| store.join(connection, &topic, &group))
            .await?;
        let subscription = Subscription {
            topic: request.topic,
            member,
            database: self.database.clone(),
            store: self.store.clone(),
            options: self.options.clone(),
            wake: self.wake.subscribe(),
            tidy: self.tidy.clone(),
            handler,
            tasks: self.tasks.clone(),
        };
        let closing = self.tasks.shutdown().child();
        let until = closing.clone();
        self.tasks.spawn("sqlite-pubsub-stop", async move {
            tokio::select! {
                () = stop.wait() => until.trigger(),
                () = until.wait() => {}
            }
        });
        self.tasks.spawn("sqlite-pubsub-subscription", subscription.run(closing));
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(self.database.ping().await?)
    }

    async fn close(&self) {
        if !self.tasks.stop(CLOSE_LIMIT).await {
            tracing::warn!(
                target: "dapr.contrib",
                "pubsub.sqlite closes with handlers still running; their messages come back after redeliverInterval"
            );
        }
        self.database.close().await;
    }
}
