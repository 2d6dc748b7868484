//! Message buses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::pubsub::{
    BulkEntry, BulkPublishRequest, Feature, HandlerError, Message, MessageHandler, PubSub, PublishRequest,
    RequestMetadata, SubscribeRequest,
};
use dapr_kernel::Shutdown;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// What a bus promises and how long it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// The bus has a bulk publish of its own.
    pub bulk_publish: bool,
    /// Messages of one publisher arrive in order while nothing fails.
    pub in_order: bool,
    /// A message whose handler failed comes back.
    pub redelivers: bool,
    /// Pause between subscribing and publishing, and after the end of a
    /// subscription.
    pub settle: Duration,
    /// Longest wait for all messages.
    pub read_limit: Duration,
    pub messages: usize,
    pub publish_metadata: RequestMetadata,
    pub subscribe_metadata: RequestMetadata,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bulk_publish: false,
            in_order: true,
            redelivers: false,
            settle: Duration::from_millis(200),
            read_limit: Duration::from_secs(60),
            messages: 10,
            publish_metadata: RequestMetadata::new(),
            subscribe_metadata: RequestMetadata::new(),
        }
    }
}

/// Runs the whole suite on topics of its own and closes the bus.
pub async fn run(bus: Arc<dyn PubSub>, config: &Config) {
    let suite = Suite { bus, config, id: uuid::Uuid::new_v4().simple().to_string() };
    suite.ping().await;
    assert_eq!(
        suite.bus.features().contains(&Feature::BulkPubSub),
        config.bulk_publish,
        "feature BULK_PUBSUB tells whether bulk publish exists"
    );
    suite.delivery().await;
    suite.topics_are_isolated().await;
    suite.bus.close().await;
    let late = suite.bus.publish(suite.message("late", 0)).await;
    assert!(late.is_err(), "publishing on a closed bus fails");
    let handler = Arc::new(Collector::default());
    let request = SubscribeRequest { topic: suite.topic("late"), ..Default::default() };
    let late = suite.bus.subscribe(request, Shutdown::new(), handler).await;
    assert!(late.is_err(), "subscribing on a closed bus fails");
}

struct Suite<'a> {
    bus: Arc<dyn PubSub>,
    config: &'a Config,
    id: String,
}

/// Refuses some messages on their first delivery and keeps the rest.
#[derive(Default)]
struct Collector {
    refuse: bool,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    deliveries: usize,
    refused: BTreeSet<String>,
    taken: Vec<String>,
    /// First deliveries in order, up to the first refusal: what is refused
    /// may overtake or be overtaken.
    order: Vec<String>,
}

impl Collector {
    fn refusing() -> Arc<Self> {
        Arc::new(Self { refuse: true, ..Self::default() })
    }

    async fn wait(&self, what: &str, limit: Duration, done: impl Fn(&Seen) -> bool) {
        let all = async {
            loop {
                let changed = self.changed.notified();
                if done(&self.seen.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(limit, all).await.is_err() {
            panic!("{what} within {limit:?}; taken: {:?}", self.seen.lock().taken);
        }
    }
}

#[async_trait]
impl MessageHandler for Collector {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let text = String::from_utf8_lossy(&message.data).into_owned();
        let refuse = {
            let mut seen = self.seen.lock();
            seen.deliveries += 1;
            let n = seen.deliveries;
            if seen.refused.is_empty() {
                seen.order.push(text.clone());
            }
            let refuse = self.refuse && !seen.refused.contains(&text) && (n <= 2 || n.is_multiple_of(5));
            if refuse {
                seen.refused.insert(text.clone());
            } else {
                seen.taken.push(text);
            }
            refuse
        };
        if refuse {
            // Lets more messages pile up behind this one.
            sleep(Duration::from_millis(200)).await;
        }
        self.changed.notify_waiters();
        if refuse { Err(HandlerError::Failed("refused by the suite".to_owned())) } else { Ok(()) }
    }
}

impl Suite<'_> {
    async fn ping(&self) {
        if let Err(e) = self.bus.ping().await {
            assert_eq!(e.to_string(), "ping is not implemented by this pubsub");
        }
    }

    fn topic(&self, name: &str) -> String {
        format!("{name}-{}", self.id)
    }

    fn text(n: usize) -> String {
        format!("message-{n:05}")
    }

    fn message(&self, topic: &str, n: usize) -> PublishRequest {
        PublishRequest {
            topic: self.topic(topic),
            data: Bytes::from(Self::text(n)),
            metadata: self.config.publish_metadata.clone(),
            content_type: None,
        }
    }

    async fn publish(&self, topic: &str, n: usize) {
        self.bus.publish(self.message(topic, n)).await.unwrap_or_else(|e| panic!("publish to {topic}: {e}"));
    }

    async fn subscribe(&self, topic: &str, handler: &Arc<Collector>) -> Shutdown {
        let stop = Shutdown::new();
        let request =
            SubscribeRequest { topic: self.topic(topic), metadata: self.config.subscribe_metadata.clone() };
        let subscribed = self.bus.subscribe(request, stop.clone(), handler.clone()).await;
        subscribed.unwrap_or_else(|e| panic!("subscribe to {topic}: {e}"));
        stop
    }

    /// Whether the bus publishes many at once, be it a feature or not.
    async fn has_bulk(&self) -> bool {
        let nothing = BulkPublishRequest { topic: self.topic("delivery"), ..BulkPublishRequest::default() };
        self.bus.bulk_publish(&nothing).await.is_some()
    }

    async fn delivery(&self) {
        let count = self.config.messages;
        let handler = Collector::refusing();
        let stop = self.subscribe("delivery", &handler).await;
        sleep(self.config.settle).await;
        for n in 0..count {
            self.publish("delivery", n).await;
        }
        let mut sent = count;
        if self.config.bulk_publish || self.has_bulk().await {
            sent += count;
            let entries = (count..sent).map(|n| BulkEntry {
                entry_id: n.to_string(),
                event: Bytes::from(Self::text(n)),
                content_type: "text/plain".to_owned(),
                metadata: self.config.publish_metadata.clone(),
            });
            let request = BulkPublishRequest {
                topic: self.topic("delivery"),
                entries: entries.collect(),
                metadata: self.config.publish_metadata.clone(),
            };
            let failed =
                self.bus.bulk_publish(&request).await.expect("bulk publish exists").expect("bulk publish");
            assert!(failed.is_empty(), "no entry fails: {failed:?}");
        }
        let redelivers = self.config.redelivers;
        handler
            .wait("every message arrives", self.config.read_limit, |seen| {
                (0..sent)
                    .map(Self::text)
                    .all(|text| seen.taken.contains(&text) || (!redelivers && seen.refused.contains(&text)))
            })
            .await;
        stop.trigger();
        let seen = handler.seen.lock();
        if self.config.in_order {
            assert!(seen.order.is_sorted(), "messages out of order: {:?}", seen.order);
        }
    }

    async fn topics_are_isolated(&self) {
        let (first, second) = (Arc::new(Collector::default()), Arc::new(Collector::default()));
        let stop_first = self.subscribe("multi1", &first).await;
        let stop_second = self.subscribe("multi2", &second).await;
        sleep(self.config.settle).await;
        let count = self.config.messages;
        let limit = self.config.read_limit;
        let (evens, odds): (Vec<_>, Vec<_>) = (0..2 * count).partition(|n| n % 2 == 0);
        for (even, odd) in evens.iter().zip(&odds) {
            self.publish("multi1", *even).await;
            self.publish("multi2", *odd).await;
        }
        first
            .wait("topic 1 is complete", limit, |s| evens.iter().all(|n| s.taken.contains(&Self::text(*n))))
            .await;
        second
            .wait("topic 2 is complete", limit, |s| odds.iter().all(|n| s.taken.contains(&Self::text(*n))))
            .await;
        let foreign = |s: &Collector, other: &[usize]| {
            other.iter().any(|n| s.seen.lock().taken.contains(&Self::text(*n)))
        };
        assert!(!foreign(&first, &odds) && !foreign(&second, &evens), "a topic leaked into another");

        stop_first.trigger();
        sleep(self.config.settle).await;
        let ended = first.seen.lock().deliveries;
        self.publish("multi1", 90_000).await;
        self.publish("multi2", 90_001).await;
        second.wait("the other subscription goes on", limit, |s| s.taken.contains(&Self::text(90_001))).await;
        stop_second.trigger();
        sleep(self.config.settle).await;
        let ended_second = second.seen.lock().deliveries;
        self.publish("multi2", 90_002).await;
        sleep(self.config.settle).await;
        assert_eq!(first.seen.lock().deliveries, ended, "a stopped subscription got a message");
        assert_eq!(second.seen.lock().deliveries, ended_second, "a stopped subscription got a message");
    }
}
