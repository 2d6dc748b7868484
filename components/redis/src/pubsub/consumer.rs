//! One subscription: reading new messages and handling them.

use std::sync::Arc;
use std::time::Duration;

use dapr_components::pubsub::{HandlerError, MessageHandler};
use dapr_kernel::Shutdown;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value, cmd};

use super::acks::{self, AckSender};
use super::wire::{self, Entry};
use super::{Shared, reclaim};
use crate::connect::Link;
use crate::connection::text;

/// How long a read blocks when the metadata does not say.
const DEFAULT_BLOCK: Duration = Duration::from_secs(10);
/// A server that has not answered this long after a read's time was up is gone.
const READ_GRACE: Duration = Duration::from_secs(5);
/// How long the server may take to end a read early.
const UNBLOCK_LIMIT: Duration = Duration::from_millis(500);
const MIN_RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) shared: Arc<Shared>,
    pub(super) topic: Arc<str>,
    /// Given by the subscriber or by closing the component.
    pub(super) stop: Shutdown,
    handler: Arc<dyn MessageHandler>,
    acks: AckSender,
}

impl Subscription {
    /// Starts reading, taking over and acknowledging.
    pub(super) fn start(
        shared: Arc<Shared>,
        topic: String,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) {
        let topic: Arc<str> = topic.into();
        let (acks, handled) = acks::channel();
        let tasks = shared.tasks.clone();
        let acking = (shared.clone(), topic.clone());
        tasks.spawn("redis acknowledgements", async move { acks::run(&acking.0, &acking.1, handled).await });

        let ended = stop.child();
        let closed = shared.closed.clone();
        let ending = ended.clone();
        tasks.spawn("redis subscription end", async move {
            ending.guard(closed.wait()).await;
            ending.trigger();
        });

        let subscription = Self { shared, topic, stop: ended, handler, acks };
        if subscription.shared.settings.handler_timeout().is_some() {
            let reclaiming = subscription.clone();
            tasks.spawn("redis redelivery", async move {
                let stop = reclaiming.stop.clone();
                let _fetching = reclaiming.shared.fetching.read().await;
                stop.guard(reclaim::run(&reclaiming)).await;
            });
        }
        tasks.spawn("redis subscription", async move {
            let stop = subscription.stop.clone();
            let _fetching = subscription.shared.fetching.read().await;
            // Dropping a read closes its connection, which ends the server's wait.
            stop.guard(subscription.read_forever()).await;
        });
    }

    /// Until it is paused.
    async fn read_forever(&self) {
        let paused = self.shared.paused.clone();
        let mut pause = MIN_RECONNECT_PAUSE;
        loop {
            let error = match self.read_until_error(&mut pause).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if error.code() == Some("NOGROUP") {
                self.recreate_group().await;
            } else {
                tracing::error!(
                    target: "dapr.contrib", component = %self.shared.log_name,
                    "redis streams: error reading from stream {}: {}", self.topic, text(&error)
                );
            }
            if paused.guard(tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0))).await.is_none() {
                return;
            }
            pause = (pause * 2).min(MAX_RECONNECT_PAUSE);
        }
    }

    /// Reads over one connection for as long as it lasts; `Ok` when paused.
    async fn read_until_error(&self, pause: &mut Duration) -> Result<(), RedisError> {
        let block = self.shared.block.unwrap_or(DEFAULT_BLOCK).max(Duration::from_millis(1));
        let opening = self.shared.connector.open(None);
        let mut link = within(self.shared.dial_timeout, opening).await?;
        // Known only so that a read can be ended early; servers may refuse it.
        let id = match within(self.shared.dial_timeout, link.call(cmd("CLIENT").arg("ID"))).await {
            Ok(Value::Int(id)) => Some(id),
            _ => None,
        };
        let command = self.read_command(block);
        while !self.shared.paused.is_triggered() {
            let Some(answer) = self.read(&mut link, &command, block, id).await? else { return Ok(()) };
            *pause = MIN_RECONNECT_PAUSE;
            for entry in wire::read_entries(&self.topic, answer) {
                self.dispatch(entry).await;
            }
        }
        Ok(())
    }

    /// `None` when paused with nothing to read. What the server hands out is
    /// ours for `processingTimeout`: a read is ended, not abandoned.
    async fn read(
        &self,
        link: &mut Link,
        command: &Cmd,
        block: Duration,
        id: Option<i64>,
    ) -> RedisResult<Option<Value>> {
        let mut reading = std::pin::pin!(within(Some(block + READ_GRACE), link.call(command)));
        if let Some(answer) = self.shared.paused.guard(&mut reading).await {
            return answer.map(Some);
        }
        let Some(id) = id else { return Ok(None) };
        let ended = async {
            self.shared.connection.call(cmd("CLIENT").arg("UNBLOCK").arg(id)).await?;
            reading.await
        };
        match tokio::time::timeout(UNBLOCK_LIMIT, ended).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }

    fn read_command(&self, block: Duration) -> Cmd {
        let settings = &self.shared.settings;
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&settings.consumer).arg(&settings.consumer);
        if settings.queue_depth > 0 {
            command.arg("COUNT").arg(settings.queue_depth);
        }
        command.arg("BLOCK").arg(block.as_millis().to_string());
        command.arg("STREAMS").arg(&*self.topic).arg(">");
        command
    }

    async fn recreate_group(&self) {
        let (group, topic) = (&self.shared.settings.consumer, &self.topic);
        tracing::warn!(
            target: "dapr.contrib",
            component = %self.shared.log_name,
            "redis streams: consumer group {group} does not exist for stream {topic}. This could mean the \
             server experienced data loss, or the group/stream was deleted."
        );
        tracing::warn!(
            target: "dapr.contrib", component = %self.shared.log_name,
            "redis streams: recreating group {group} for stream {topic}"
        );
        if let Err(error) = self.shared.create_group(topic).await {
            tracing::error!(
                target: "dapr.contrib", component = %self.shared.log_name,
                "redis streams: {}", text(&error)
            );
        }
    }

    /// Hands a message to a worker; waits while all are busy.
    pub(super) async fn dispatch(&self, entry: Entry) {
        // The semaphore is never closed.
        let Ok(permit) = self.shared.workers.clone().acquire_owned().await else { return };
        let subscription = self.clone();
        self.shared.tasks.spawn("redis message", async move {
            subscription.process(entry).await;
            drop(permit);
        });
    }

    /// A failed message is acknowledged, that is dropped; only one that ran out
    /// of time or met the end of the subscription stays pending.
    async fn process(&self, entry: Entry) {
        let Entry { id, message } = entry;
        let handling = self.handler.handle(message);
        let outcome = match self.shared.settings.handler_timeout() {
            None => handling.await,
            Some(limit) => match tokio::time::timeout(limit, handling).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::error!(
                        target: "dapr.contrib",
                        component = %self.shared.log_name,
                        "Error processing Redis message {id}: not done within processingTimeout ({limit:?}); \
                         it will be delivered again"
                    );
                    return;
                }
            },
        };
        match outcome {
            Ok(()) => {}
            Err(HandlerError::Cancelled) => return,
            Err(HandlerError::Failed(reason)) => {
                tracing::error!(
                    target: "dapr.contrib", component = %self.shared.log_name,
                    "Error processing Redis message {id}: {reason}"
                );
                if self.stop.is_triggered() {
                    return;
                }
            }
        }
        // The receiver outlives every sender.
        let _ = self.acks.send(id).await;
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match limit {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err((ErrorKind::Io, "the server did not answer in time").into()),
        },
    }
}
