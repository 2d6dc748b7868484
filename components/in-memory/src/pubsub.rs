//! `pubsub.in-memory` (components.md §4.1).

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use dapr_components::pubsub::{
    self, Error, Feature, HandlerError, Message, MessageHandler, PublishRequest, SubscribeRequest,
};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{RwLock, oneshot, watch};

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

/// Messages are taken one at a time, in the order of publishing; a publisher
/// waits until the turn of its message has come.
struct Subscription {
    topic: String,
    /// Text before the final `*`, if there is one.
    prefix: Option<String>,
    handler: Arc<dyn MessageHandler>,
    stop: Shutdown,
    /// One for each publisher that waits.
    waiting: Mutex<VecDeque<Waiting>>,
    /// Whether a task hands over messages; changes under the lock of `waiting`.
    busy: watch::Sender<bool>,
}

struct Waiting {
    message: Message,
    /// Tells the publisher that the turn has come.
    begun: oneshot::Sender<()>,
}

/// When the turn of a message comes.
enum Turn {
    Now(Message),
    Later(oneshot::Receiver<()>),
}

impl Subscription {
    fn takes(&self, topic: &str) -> bool {
        self.topic == topic
            || self.prefix.as_deref().is_some_and(|p| topic.len() > p.len() && topic.starts_with(p))
    }

    /// Returns when the message's turn has come.
    async fn deliver(self: &Arc<Self>, request: PublishRequest, tasks: &TaskGroup) {
        if self.stop.is_triggered() {
            return;
        }
        let message = Message {
            topic: self.topic.clone(),
            data: request.data,
            metadata: request.metadata,
            content_type: None,
        };
        match self.enqueue(message) {
            Turn::Now(message) => {
                tasks.spawn("in-memory-pubsub-delivery", self.clone().hand_over(message));
            }
            Turn::Later(begun) => {
                self.stop.guard(begun).await;
            }
        }
    }

    fn enqueue(&self, message: Message) -> Turn {
        let mut waiting = self.waiting.lock();
        if !self.busy.send_replace(true) {
            return Turn::Now(message);
        }
        if waiting.len() == waiting.capacity() {
            // Publishers that gave up are forgotten before the queue grows.
            waiting.retain(|publisher| !publisher.begun.is_closed());
        }
        let (begun, turn) = oneshot::channel();
        waiting.push_back(Waiting { message, begun });
        Turn::Later(turn)
    }

    /// The first message of a publisher that still waits.
    fn next(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.lock();
        let next = std::iter::from_fn(|| waiting.pop_front())
            .find(|publisher| !publisher.begun.is_closed() && !self.stop.is_triggered());
        if next.is_none() {
            self.busy.send_replace(false);
        }
        next
    }

    /// Hands over `message` and all that come to wait meanwhile: publishers may
    /// be on other threads, and a message should not wait for them to wake up.
    async fn hand_over(self: Arc<Self>, message: Message) {
        self.handle(message, None).await;
        while let Some(Waiting { message, begun }) = self.next() {
            self.handle(message, Some(begun)).await;
        }
    }

    async fn handle(&self, message: Message, begun: Option<oneshot::Sender<()>>) {
        // A handler that panics must not block those behind it. The hook has told of it.
        let mut handling = AssertUnwindSafe(self.handler.handle(message)).catch_unwind();
        // The application is at work before the publisher hears of it.
        let at_once = futures::poll!(&mut handling);
        if let Some(begun) = begun {
            let _ = begun.send(());
        }
        let handled = match at_once {
            Poll::Ready(handled) => handled,
            Poll::Pending => handling.await,
        };
        if let Ok(Err(HandlerError::Failed(error))) = handled {
            tracing::error!(target: "dapr.contrib", "{error}");
        }
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
            subscription.deliver(request.clone(), &self.tasks).await;
        }
        last.deliver(request, &self.tasks).await;
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
            waiting: Mutex::default(),
            busy: watch::Sender::new(false),
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
            // The sender lives as long as the subscription.
            let _ = subscription.busy.subscribe().wait_for(|busy| !busy).await;
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

    struct Panics(mpsc::UnboundedSender<Message>);

    #[async_trait]
    impl MessageHandler for Panics {
        async fn handle(&self, message: Message) -> Result<(), HandlerError> {
            tokio::task::yield_now().await;
            assert!(&message.data[..] != b"bad", "a handler's mistake");
            self.0.send(message).unwrap();
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_blocks_nobody() {
        let bus = bus();
        let (tx, mut rx) = mpsc::unbounded_channel();
        let request = SubscribeRequest { topic: "t".to_owned(), ..Default::default() };
        bus.subscribe(request, Shutdown::new(), Arc::new(Panics(tx))).await.unwrap();
        for data in ["bad", "bad", "good"] {
            bus.publish(message("t", data)).await.unwrap();
        }
        assert_eq!(&rx.recv().await.unwrap().data[..], b"good");
        bus.pause().await;
    }

    #[tokio::test]
    async fn publishers_that_give_up_leave_nothing_behind() {
        let bus = bus();
        let mut rx = subscribe(&bus, "t", Shutdown::new(), Duration::from_millis(50)).await;
        bus.publish(message("t", "first")).await.unwrap();
        for _ in 0..1000 {
            assert!(futures::poll!(bus.publish(message("t", "given up"))).is_pending());
        }
        let waiting = bus.subscriptions.load()[0].waiting.lock().capacity();
        assert!(waiting < 100, "{waiting}");
        bus.publish(message("t", "last")).await.unwrap();
        bus.pause().await;
        let got: Vec<_> = std::iter::from_fn(|| rx.try_recv().ok()).map(|message| message.data).collect();
        assert_eq!(got, ["first", "last"]);
    }

    #[tokio::test]
    async fn publishers_that_wait_are_served_in_their_order() {
        let bus = bus();
        let mut rx = subscribe(&bus, "t", Shutdown::new(), Duration::from_millis(1)).await;
        let numbers = ["0", "1", "2", "3", "4", "5"];
        futures::future::join_all(numbers.map(|data| bus.publish(message("t", data)))).await;
        bus.pause().await;
        let got: Vec<_> = std::iter::from_fn(|| rx.try_recv().ok()).map(|message| message.data).collect();
        assert_eq!(got, numbers);
    }

    #[tokio::test]
    async fn a_stopped_subscription_lets_its_publishers_go() {
        let bus = bus();
        let stop = Shutdown::new();
        let _rx = subscribe(&bus, "t", stop.clone(), Duration::from_secs(3600)).await;
        bus.publish(message("t", "held")).await.unwrap();
        let mut waiting = std::pin::pin!(bus.publish(message("t", "waits")));
        assert!(futures::poll!(&mut waiting).is_pending());
        stop.trigger();
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
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
