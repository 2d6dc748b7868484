//! Subscriptions that take many messages at once: batching in front of the
//! application (api.md §5.6).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::pubsub::{Feature, HandlerError, Message, MessageHandler};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::bulk_deliver;
use super::handler::Handler;
use super::route::Bulk;

/// A message in front of a batch and where its outcome goes.
struct Pending {
    message: Message,
    outcome: oneshot::Sender<Result<(), HandlerError>>,
}

/// Collects messages; each `handle` resolves with its own message's outcome.
struct Batcher {
    handler: Arc<Handler>,
    queue: mpsc::Sender<Pending>,
}

/// Puts batching in front of the application.
pub(super) fn batching(handler: Handler, bulk: Bulk) -> Arc<dyn MessageHandler> {
    let handler = Arc::new(handler);
    let (queue, messages) = mpsc::channel(bulk.max_messages);
    // Such a bus delivers one message at a time and waits for its outcome: a
    // window would only delay it.
    let immediate = handler.loaded.component.features().contains(&Feature::BulkSubscribeImmediate);
    let window = if immediate { Duration::ZERO } else { bulk.max_await };
    let tasks = handler.service.0.options.tasks.clone();
    tasks.spawn("bulk subscription", collect(handler.clone(), messages, bulk.max_messages, window));
    Arc::new(Batcher { handler, queue })
}

#[async_trait]
impl MessageHandler for Batcher {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let Some(_in_flight) = self.handler.drain.enter() else { return Err(HandlerError::Cancelled) };
        let (outcome, settled) = oneshot::channel();
        if self.queue.send(Pending { message, outcome }).await.is_err() {
            return Err(HandlerError::Cancelled);
        }
        settled.await.unwrap_or(Err(HandlerError::Cancelled))
    }
}

/// Delivers one batch after the other until the subscription ends.
async fn collect(
    handler: Arc<Handler>,
    mut messages: mpsc::Receiver<Pending>,
    most: usize,
    window: Duration,
) {
    let stop = handler.stop.clone();
    while let Some(first) = stop.guard(messages.recv()).await.flatten() {
        let mut batch = vec![first];
        let end = Instant::now() + window;
        while batch.len() < most {
            if let Ok(next) = messages.try_recv() {
                batch.push(next);
                continue;
            }
            // The window runs from the batch's first message.
            let next = tokio::select! {
                biased;
                next = messages.recv() => next,
                () = tokio::time::sleep_until(end) => None,
                () = stop.wait() => None,
            };
            match next {
                Some(next) => batch.push(next),
                None => break,
            }
        }
        flush(&handler, batch).await;
    }
}

async fn flush(handler: &Handler, batch: Vec<Pending>) {
    let (messages, outcomes): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.message, p.outcome)).unzip();
    let settled = bulk_deliver::deliver(handler, messages).await;
    for (outcome, result) in outcomes.into_iter().zip(settled) {
        // The component may have given up on the message meanwhile.
        let _ = outcome.send(result);
    }
}
