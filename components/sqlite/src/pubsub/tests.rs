use std::collections::HashMap;

use bytes::Bytes;
use dapr_components::Properties;
use dapr_components::pubsub::{HandlerError, Message, PubSub as _};
use dapr_kernel::AppIdentity;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

async fn open(dir: &tempfile::TempDir, app: &str, extra: &[(&str, &str)]) -> PubSub {
    let path = dir.path().join("bus.db");
    let mut items = vec![("connectionString", path.to_str().unwrap())];
    items.extend(extra);
    let context = InitContext {
        name: "bus".into(),
        component_type: "pubsub.sqlite".into(),
        version: "v1".into(),
        properties: Properties::new(items).unwrap(),
        identity: AppIdentity::new(app, None),
        tasks: TaskGroup::new(Shutdown::new()),
    };
    PubSub::open(context).await.unwrap()
}

type Answer = Box<dyn Fn(&Message, usize) -> Result<(), HandlerError> + Send + Sync>;

/// Passes messages on and answers as told, with the number of the delivery.
struct Scripted {
    got: mpsc::UnboundedSender<(String, Message)>,
    deliveries: Mutex<HashMap<String, usize>>,
    answer: Answer,
}

#[async_trait]
impl MessageHandler for Scripted {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let text = String::from_utf8_lossy(&message.data).into_owned();
        let delivery = {
            let mut deliveries = self.deliveries.lock();
            let n = deliveries.entry(text.clone()).or_default();
            *n += 1;
            *n
        };
        let answer = (self.answer)(&message, delivery);
        let _ = self.got.send((text, message));
        answer
    }
}

struct Inbox(mpsc::UnboundedReceiver<(String, Message)>);

impl Inbox {
    async fn next(&mut self) -> String {
        timeout(LIMIT, self.0.recv()).await.expect("a message in time").unwrap().0
    }

    async fn nothing(&mut self) {
        let got = timeout(Duration::from_millis(300), self.0.recv()).await;
        assert!(got.is_err(), "unexpected message: {got:?}");
    }
}

async fn subscribe_with(
    bus: &PubSub,
    topic: &str,
    stop: &Shutdown,
    answer: impl Fn(&Message, usize) -> Result<(), HandlerError> + Send + Sync + 'static,
) -> Inbox {
    let (got, inbox) = mpsc::unbounded_channel();
    let handler = Scripted { got, deliveries: Mutex::default(), answer: Box::new(answer) };
    let request = SubscribeRequest { topic: topic.to_owned(), ..Default::default() };
    bus.subscribe(request, stop.clone(), Arc::new(handler)).await.unwrap();
    Inbox(inbox)
}

async fn subscribe(bus: &PubSub, topic: &str, stop: &Shutdown) -> Inbox {
    subscribe_with(bus, topic, stop, |_, _| Ok(())).await
}

async fn publish_with(bus: &PubSub, topic: &str, text: &str, metadata: &[(&str, &str)]) -> Result<(), Error> {
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let data = Bytes::from(text.to_owned());
    bus.publish(PublishRequest { topic: topic.to_owned(), data, metadata, content_type: None }).await
}

async fn publish(bus: &PubSub, topic: &str, text: &str) {
    publish_with(bus, topic, text, &[]).await.unwrap();
}

fn count(dir: &tempfile::TempDir, table: &str) -> i64 {
    let file = Connection::open(dir.path().join("bus.db")).unwrap();
    file.query_row(&format!("SELECT count(*) FROM pubsub_{table}"), [], |row| row.get(0)).unwrap()
}

async fn becomes_empty(dir: &tempfile::TempDir, table: &str) {
    let limit = Instant::now() + LIMIT;
    while count(dir, table) > 0 {
        assert!(Instant::now() < limit, "{} rows stay in {table}", count(dir, table));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_gets_every_message_and_its_consumers_share_them() {
    let dir = tempfile::tempdir().unwrap();
    let (a1, a2, b) = (open(&dir, "a", &[]).await, open(&dir, "a", &[]).await, open(&dir, "b", &[]).await);
    let stop = Shutdown::new();
    let mut inboxes =
        [subscribe(&a1, "t", &stop).await, subscribe(&a2, "t", &stop).await, subscribe(&b, "t", &stop).await];
    for n in 0..50 {
        publish(&b, "t", &n.to_string()).await;
    }
    for _ in 0..50 {
        inboxes[2].next().await;
    }
    let [one, two, other] = &mut inboxes;
    for _ in 0..50 {
        timeout(LIMIT, async {
            tokio::select! { _ = one.0.recv() => {}, _ = two.0.recv() => {} }
        })
        .await
        .expect("a message in time");
    }
    one.nothing().await;
    two.nothing().await;
    other.nothing().await;
    becomes_empty(&dir, "messages").await;
    becomes_empty(&dir, "pending").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_begins_with_its_first_subscription_and_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[]).await;
    publish(&bus, "t", "before").await;
    assert_eq!(count(&dir, "messages"), 0, "nobody ever subscribed");
    let stop = Shutdown::new();
    let mut inbox = subscribe(&bus, "t", &stop).await;
    publish(&bus, "t", "during").await;
    assert_eq!(inbox.next().await, "during");
    stop.trigger();
    bus.close().await;
    let bus = open(&dir, "a", &[]).await;
    publish(&bus, "t", "while away").await;
    let mut inbox = subscribe(&bus, "t", &Shutdown::new()).await;
    assert_eq!(inbox.next().await, "while away");
    inbox.nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_comes_back_after_its_delay_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[("retryDelay", "50ms")]).await;
    let mut inbox = subscribe_with(&bus, "t", &Shutdown::new(), |message, delivery| {
        let fails = &message.data[..] == b"bad" && delivery < 3;
        if fails { Err(HandlerError::Failed("no".to_owned())) } else { Ok(()) }
    })
    .await;
    publish(&bus, "t", "bad").await;
    publish(&bus, "t", "good").await;
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(inbox.next().await);
    }
    assert_eq!(got.iter().filter(|text| *text == "bad").count(), 3, "{got:?}");
    inbox.nothing().await;
    becomes_empty(&dir, "messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_deliveries_ends_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[("retryDelay", "10ms"), ("maxDeliveries", "2")]).await;
    let fail = |_: &Message, _| Err(HandlerError::Failed("no".to_owned()));
    let mut inbox = subscribe_with(&bus, "t", &Shutdown::new(), fail).await;
    publish(&bus, "t", "bad").await;
    assert_eq!((inbox.next().await, inbox.next().await), ("bad".to_owned(), "bad".to_owned()));
    inbox.nothing().await;
    becomes_empty(&dir, "messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_message_goes_to_another_consumer_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(&dir, "a", &[]).await, open(&dir, "a", &[]).await);
    let stop = Shutdown::new();
    let stopping = stop.clone();
    let mut first = subscribe_with(&one, "t", &stop, move |_, _| {
        stopping.trigger();
        Err(HandlerError::Cancelled)
    })
    .await;
    publish(&one, "t", "x").await;
    assert_eq!(first.next().await, "x");
    let since = Instant::now();
    let mut second = subscribe(&two, "t", &Shutdown::new()).await;
    assert_eq!(second.next().await, "x");
    assert!(since.elapsed() < Duration::from_secs(10), "long before redeliverInterval");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_is_a_failed_one() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[("retryDelay", "10ms")]).await;
    let mut inbox = subscribe_with(&bus, "t", &Shutdown::new(), |_, delivery| {
        assert!(delivery > 1, "first delivery");
        Ok(())
    })
    .await;
    publish(&bus, "t", "x").await;
    assert_eq!(inbox.next().await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_keeps_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let extra = [("redeliverInterval", "1s")];
    let (one, two) = (open(&dir, "a", &extra).await, open(&dir, "a", &extra).await);
    let deliveries = Arc::new(Mutex::new(0));
    struct Slow(Arc<Mutex<usize>>);
    #[async_trait]
    impl MessageHandler for Slow {
        async fn handle(&self, _message: Message) -> Result<(), HandlerError> {
            *self.0.lock() += 1;
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(())
        }
    }
    for bus in [&one, &two] {
        let request = SubscribeRequest { topic: "t".to_owned(), ..Default::default() };
        bus.subscribe(request, Shutdown::new(), Arc::new(Slow(deliveries.clone()))).await.unwrap();
    }
    publish(&one, "t", "x").await;
    becomes_empty(&dir, "messages").await;
    assert_eq!(*deliveries.lock(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn processing_timeout_redelivers() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[("processingTimeout", "1s"), ("retryDelay", "10ms")]).await;
    struct FirstHangs(Mutex<usize>);
    #[async_trait]
    impl MessageHandler for FirstHangs {
        async fn handle(&self, _message: Message) -> Result<(), HandlerError> {
            let first = {
                let mut n = self.0.lock();
                *n += 1;
                *n == 1
            };
            if first {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }
    let request = SubscribeRequest { topic: "t".to_owned(), ..Default::default() };
    bus.subscribe(request, Shutdown::new(), Arc::new(FirstHangs(Mutex::new(0)))).await.unwrap();
    publish(&bus, "t", "x").await;
    becomes_empty(&dir, "messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_messages_are_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(&dir, "a", &[]).await;
    let stop = Shutdown::new();
    subscribe(&bus, "t", &stop).await;
    stop.trigger();
    bus.close().await;
    let bus = open(&dir, "a", &[]).await;
    publish_with(&bus, "t", "short", &[("ttlInSeconds", "1")]).await.unwrap();
    publish_with(&bus, "t", "long", &[("ttlInSeconds", "100")]).await.unwrap();
    let error = publish_with(&bus, "t", "x", &[("ttlInSeconds", "0")]).await.unwrap_err();
    assert_eq!(error.to_string(), "ttl value must be higher than zero: actual is '0'");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut inbox = subscribe(&bus, "t", &Shutdown::new()).await;
    let (text, message) = timeout(LIMIT, inbox.0.recv()).await.unwrap().unwrap();
    assert_eq!((text.as_str(), message.metadata["ttlInSeconds"].as_str()), ("long", "100"));
    becomes_empty(&dir, "messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_quickly_from_another_component() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (open(&dir, "from", &[]).await, open(&dir, "to", &[]).await);
    let mut inbox = subscribe(&to, "t", &Shutdown::new()).await;
    let mut fastest = Duration::MAX;
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let since = Instant::now();
        publish(&from, "t", &n.to_string()).await;
        inbox.next().await;
        fastest = fastest.min(since.elapsed());
    }
    // Far below the safety poll: the notice came through.
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
}

#[tokio::test]
async fn metadata_is_checked() {
    let error = |items: &[(&str, &str)]| {
        let properties = Properties::new(items.iter().copied()).unwrap();
        PubSubOptions::new(&properties, "app").unwrap_err().to_string()
    };
    assert_eq!(error(&[]), "missing connection string");
    assert!(error(&[("url", "a"), ("concurrency", "0")]).contains("concurrency"));
    assert!(error(&[("url", "a"), ("redeliverInterval", "10ms")]).contains("redeliverInterval"));
    let properties = Properties::new([("url", "a"), ("messageTTL", "0"), ("retryDelay", "1s")]).unwrap();
    let options = PubSubOptions::new(&properties, "app").unwrap();
    assert_eq!((options.message_ttl, options.consumer_id.as_str()), (None, "app"));
    assert_eq!(options.retry_delay(1), Duration::from_secs(1));
    assert_eq!(options.retry_delay(3), Duration::from_secs(4));
    assert_eq!(options.retry_delay(u32::MAX), Duration::from_secs(30));
}
