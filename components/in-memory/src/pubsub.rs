//! `pubsub.in-memory` (components.md §4.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use dapr_components::pubsub::{
    self, Error, Feature, HandlerError, Message, MessageHandler, PublishRequest, SubscribeRequest,
};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use tokio::sync::{Mutex, RwLock};

/// One independent bus per instance. A topic exists only while somebody is
/// subscribed; publishing without a subscriber drops the message.
pub struct PubSub {
    subscriptions: Arc<ArcSwap<Vec<Arc<Subscription>>>>,
    /// Shared by publishers while they hand over a message.
    publishing: RwLock<()>,
    closed: AtomicBool,
    stop: Shutdown,
    tasks: TaskGroup,
}

struct Subscription {
    topic: String,
    /// Text before the final `*`, if there is one.
    prefix: Option<String>,
    handler: Arc<dyn MessageHandler>,
    stop: Shutdown,
    /// Held while the handler runs: messages are taken one at a time, in the
    /// order of publishing, and publishers wait for their turn.
    turn: Arc<Mutex<()>>,
}

impl Subscription {
    fn takes(&self, topic: &str) -> bool {
        self.topic == topic
            || self.prefix.as_deref().is_some_and(|p| topic.len() > p.len() && topic.starts_with(p))
    }
}

impl PubSub {
    pub fn new(tasks: TaskGroup) -> Self {
        Self {
            subscriptions: Arc::default(),
            publishing: RwLock::default(),
            closed: AtomicBool::new(false),
            stop: tasks.shutdown().child(),
            tasks,
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    async fn deliver(&self, subscription: Arc<Subscription>, request: PublishRequest) {
        let turn = subscription.turn.clone();
        let Some(turn) = subscription.stop.guard(turn.lock_owned()).await else { return };
        let message = Message {
            topic: subscription.topic.clone(),
            data: request.data,
            metadata: request.metadata,
            content_type: None,
        };
        self.tasks.spawn("in-memory-pubsub-delivery", async move {
            match subscription.handler.handle(message).await {
                Ok(()) | Err(HandlerError::Cancelled) => {}
                Err(HandlerError::Failed(error)) => tracing::error!(target: "dapr.contrib", "{error}"),
            }
            drop(turn);
        });
    }
}

#[async_trait]
impl pubsub::PubSub for PubSub {
    fn features(&self) -> &[Feature] {
        &[Feature::SubscribeWildcards]
    }

    /// Returns when every matching subscription has begun with this message,
    /// and so after it has finished with the one before.
    async fn publish(&self, request: PublishRequest) -> Result<(), Error> {
        self.check_open()?;
        let _publishing = self.publishing.read().await;
        let mut matching: Vec<_> =
            self.subscriptions.load().iter().filter(|s| s.takes(&request.topic)).cloned().collect();
        let Some(last) = matching.pop() else { return Ok(()) };
        for subscription in matching {
            self.deliver(subscription, request.clone()).await;
        }
        self.deliver(last, request).await;
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), Error> {
        self.check_open()?;
        let stopping = self.stop.child();
        let subscription = Arc::new(Subscription {
            prefix: request.topic.strip_suffix('*').map(str::to_owned),
            topic: request.topic,
            handler,
            stop: stopping.clone(),
            turn: Arc::default(),
        });
        self.subscriptions.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(subscription.clone());
            all
        });
        let subscriptions = self.subscriptions.clone();
        self.tasks.spawn("in-memory-pubsub-subscription", async move {
            tokio::select! {
                () = stop.wait() => stopping.trigger(),
                () = stopping.wait() => {}
            }
            subscriptions.rcu(|all| {
                all.iter().filter(|s| !Arc::ptr_eq(s, &subscription)).cloned().collect::<Vec<_>>()
            });
        });
        Ok(())
    }

    /// Waits for publishers, then for the handlers of their messages.
    async fn pause(&self) {
        drop(self.publishing.write().await);
        for subscription in self.subscriptions.load_full().iter() {
            drop(subscription.turn.lock().await);
        }
    }

    fn is_volatile(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stop.trigger();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use dapr_components::pubsub::PubSub as _;
    use tokio::sync::mpsc;

    use super::*;

    struct Recorder(mpsc::UnboundedSender<Message>, Duration);

    #[async_trait]
    impl MessageHandler for Recorder {
        async fn handle(&self, message: Message) -> Result<(), HandlerError> {
            tokio::time::sleep(self.1).await;
            self.0.send(message).unwrap();
            Err(HandlerError::Failed("refused".to_owned()))
        }
    }

    fn bus() -> PubSub {
        PubSub::new(TaskGroup::new(Shutdown::new()))
    }

    async fn subscribe(
        bus: &PubSub,
        topic: &str,
        stop: Shutdown,
        delay: Duration,
    ) -> mpsc::UnboundedReceiver<Message> {
        let (tx, rx) = mpsc::unbounded_channel();
        let request = SubscribeRequest { topic: topic.to_owned(), ..Default::default() };
        bus.subscribe(request, stop, Arc::new(Recorder(tx, delay))).await.unwrap();
        rx
    }

    fn message(topic: &str, data: &'static str) -> PublishRequest {
        PublishRequest {
            topic: topic.to_owned(),
            data: Bytes::from_static(data.as_bytes()),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_wildcard_needs_at_least_one_character_and_names_the_subscription_topic() {
        let bus = bus();
        let mut rx = subscribe(&bus, "orders*", Shutdown::new(), Duration::ZERO).await;
        bus.publish(message("orders", "no")).await.unwrap();
        bus.publish(message("orders.eu", "yes")).await.unwrap();
        let got = rx.recv().await.unwrap();
        assert_eq!((got.topic.as_str(), &got.data[..]), ("orders*", &b"yes"[..]));
        assert!(rx.try_recv().is_err());
    }

    #[tokio::test]
    async fn publishers_wait_for_the_message_before_and_order_is_kept() {
        let bus = bus();
        let mut rx = subscribe(&bus, "t", Shutdown::new(), Duration::from_millis(20)).await;
        for data in ["1", "2", "3"] {
            bus.publish(message("t", data)).await.unwrap();
        }
        // The third publish returned, so the second handler has finished.
        assert_eq!(&rx.try_recv().unwrap().data[..], b"1");
        assert_eq!(&rx.try_recv().unwrap().data[..], b"2");
        assert!(rx.try_recv().is_err());
        assert_eq!(&rx.recv().await.unwrap().data[..], b"3");
    }

    #[tokio::test]
    async fn a_stopped_subscription_gets_nothing_and_blocks_nobody() {
        let bus = bus();
        let stop = Shutdown::new();
        let mut rx = subscribe(&bus, "t", stop.clone(), Duration::ZERO).await;
        stop.trigger();
        tokio::time::timeout(Duration::from_secs(5), async {
            while !bus.subscriptions.load().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        bus.publish(message("t", "late")).await.unwrap();
        assert!(rx.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_closed_bus_refuses() {
        let bus = bus();
        bus.close().await;
        assert_eq!(bus.publish(message("t", "x")).await, Err(Error::Closed));
    }
}
