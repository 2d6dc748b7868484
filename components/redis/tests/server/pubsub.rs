use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::pubsub::{
    Error, HandlerError, Message, MessageHandler, PubSub, PublishRequest, RequestMetadata, SubscribeRequest,
};
use dapr_kernel::Shutdown;
use dapr_redis::pubsub::RedisStreams;
use tokio::sync::{Semaphore, mpsc};

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

async fn open(server: &TestServer, items: &[(&str, &str)]) -> Arc<RedisStreams> {
    let host = server.address();
    let mut all = BTreeMap::from([("redisHost", host.as_str()), ("consumerID", "group")]);
    all.extend(items.iter().copied());
    let all: Vec<_> = all.into_iter().collect();
    Arc::new(RedisStreams::connect(&context("pubsub.redis", &all)).await.unwrap())
}

/// What a handler does with a message, by its text.
type Answer = fn(&str) -> Result<(), HandlerError>;

struct Recorder {
    sender: mpsc::UnboundedSender<Message>,
    answer: Answer,
    /// A handler needs a permit to end.
    gate: Option<Arc<Semaphore>>,
}

#[async_trait]
impl MessageHandler for Recorder {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let text = String::from_utf8_lossy(&message.data).into_owned();
        let _ = self.sender.send(message);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        (self.answer)(&text)
    }
}

fn recorder(answer: Answer) -> (Arc<Recorder>, mpsc::UnboundedReceiver<Message>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(Recorder { sender, answer, gate: None }), receiver)
}

async fn subscribe(bus: &RedisStreams, stop: &Shutdown, handler: &Arc<Recorder>) {
    let request = SubscribeRequest { topic: "topic".to_owned(), metadata: RequestMetadata::new() };
    bus.subscribe(request, stop.clone(), handler.clone()).await.unwrap();
}

async fn publish(bus: &RedisStreams, text: &str) {
    try_publish(bus, text).await.unwrap();
}

async fn try_publish(bus: &RedisStreams, text: &str) -> Result<(), Error> {
    let request = PublishRequest {
        topic: "topic".to_owned(),
        data: text.to_owned().into(),
        metadata: RequestMetadata::from([("k".to_owned(), "v".to_owned())]),
        content_type: None,
    };
    bus.publish(request).await
}

async fn next(messages: &mut mpsc::UnboundedReceiver<Message>) -> String {
    let message = tokio::time::timeout(PATIENCE, messages.recv()).await.expect("a message").unwrap();
    assert_eq!((message.topic.as_str(), message.metadata["k"].as_str()), ("topic", "v"));
    String::from_utf8(message.data.to_vec()).unwrap()
}

async fn pending(server: &TestServer) -> i64 {
    let redis::Value::Array(summary) = server.run(&["XPENDING", "topic", "group"]).await else { panic!() };
    redis::from_redis_value(summary[0].clone()).unwrap()
}

#[tokio::test]
async fn conformance() {
    let server = TestServer::start().await;
    let config = dapr_conformance::pubsub::Config { in_order: false, ..Default::default() };
    dapr_conformance::pubsub::run(open(&server, &[]).await, &config).await;
}

#[tokio::test]
async fn a_new_group_reads_from_the_beginning_and_failures_are_dropped() {
    let server = TestServer::start().await;
    let bus = open(&server, &[]).await;
    publish(&bus, "before").await;
    let (handler, mut messages) = recorder(|_| Err(HandlerError::Failed("no".to_owned())));
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    assert_eq!(next(&mut messages).await, "before");
    eventually("the failed message is acknowledged", async || pending(&server).await == 0).await;
    publish(&bus, "after").await;
    assert_eq!(next(&mut messages).await, "after");
}

#[tokio::test]
async fn a_cancelled_message_stays_pending() {
    let server = TestServer::start().await;
    let bus = open(&server, &[]).await;
    let (handler, mut messages) =
        recorder(|text| if text == "cancel" { Err(HandlerError::Cancelled) } else { Ok(()) });
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    publish(&bus, "cancel").await;
    publish(&bus, "take").await;
    let mut seen = [next(&mut messages).await, next(&mut messages).await];
    seen.sort();
    assert_eq!(seen, ["cancel", "take"]);
    eventually("only the cancelled one is left", async || pending(&server).await == 1).await;
}

#[tokio::test]
async fn pending_messages_of_a_dead_consumer_are_taken_over() {
    let server = TestServer::start().await;
    let bus = open(&server, &[("processingTimeout", "200"), ("redeliverInterval", "100")]).await;
    server.run(&["XGROUP", "CREATE", "topic", "group", "0", "MKSTREAM"]).await;
    publish(&bus, "lost").await;
    publish(&bus, "deleted").await;
    server.run(&["XREADGROUP", "GROUP", "group", "dead", "STREAMS", "topic", ">"]).await;
    let entries = server.run(&["XRANGE", "topic", "-", "+"]).await;
    let redis::Value::Array(entries) = entries else { panic!() };
    let redis::Value::Array(last) = &entries[1] else { panic!() };
    let id: String = redis::from_redis_value(last[0].clone()).unwrap();
    server.run(&["XDEL", "topic", &id]).await;
    let (handler, mut messages) = recorder(|_| Ok(()));
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    assert_eq!(next(&mut messages).await, "lost");
    eventually("nothing is pending", async || pending(&server).await == 0).await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_gets_the_message_again() {
    let server = TestServer::start().await;
    let bus = open(&server, &[("processingTimeout", "150"), ("redeliverInterval", "50")]).await;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = Arc::new(Recorder { sender, answer: |_| Ok(()), gate: Some(gate.clone()) });
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    publish(&bus, "slow").await;
    assert_eq!(next(&mut messages).await, "slow");
    assert_eq!(next(&mut messages).await, "slow");
    gate.add_permits(1000);
    eventually("it is acknowledged in the end", async || pending(&server).await == 0).await;
}

#[tokio::test]
async fn stopping_lets_messages_in_hand_finish() {
    let server = TestServer::start().await;
    let bus = open(&server, &[("concurrency", "1")]).await;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = Arc::new(Recorder { sender, answer: |_| Ok(()), gate: Some(gate.clone()) });
    let stop = Shutdown::new();
    for text in ["one", "two", "three"] {
        publish(&bus, text).await;
    }
    subscribe(&bus, &stop, &handler).await;
    assert_eq!(next(&mut messages).await, "one");
    stop.trigger();
    gate.add_permits(10);
    eventually("the first is acknowledged", async || pending(&server).await == 2).await;
    assert!(messages.try_recv().is_err(), "no handler is called after the stop");
    bus.close().await;
    assert_eq!(try_publish(&bus, "late").await.unwrap_err(), Error::Closed);
}

#[tokio::test]
async fn workers_are_shared_and_limited() {
    let server = TestServer::start().await;
    let bus = open(&server, &[("concurrency", "3")]).await;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = Arc::new(Recorder { sender, answer: |_| Ok(()), gate: Some(gate.clone()) });
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    for n in 0..6 {
        publish(&bus, &n.to_string()).await;
    }
    for _ in 0..3 {
        next(&mut messages).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(messages.try_recv().is_err(), "a fourth message is in hand");
    gate.add_permits(10);
    for _ in 0..3 {
        next(&mut messages).await;
    }
    eventually("all are acknowledged", async || pending(&server).await == 0).await;
}

#[tokio::test]
async fn subscriptions_survive_the_death_of_the_server() {
    let mut server = TestServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let bus = open(&server, &[]).await;
    let (handler, mut messages) = recorder(|_| Ok(()));
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    publish(&bus, "before").await;
    assert_eq!(next(&mut messages).await, "before");
    server.kill();
    let error = try_publish(&bus, "lost").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Retriable(_)) && text.starts_with("redis streams: error from publish: "));
    server.restart().await;
    publish(&bus, "after").await;
    loop {
        // An acknowledgement may have been lost, but no message.
        if next(&mut messages).await == "after" {
            break;
        }
    }
}

#[tokio::test]
async fn a_server_that_lost_everything_gets_the_group_again() {
    let mut server = TestServer::start().await;
    let bus = open(&server, &[]).await;
    let (handler, mut messages) = recorder(|_| Ok(()));
    let stop = Shutdown::new();
    subscribe(&bus, &stop, &handler).await;
    publish(&bus, "before").await;
    assert_eq!(next(&mut messages).await, "before");
    server.kill();
    server.restart().await;
    publish(&bus, "after").await;
    assert_eq!(next(&mut messages).await, "after");
}

#[tokio::test]
async fn streams_are_trimmed() {
    let server = TestServer::start().await;
    let bus = open(&server, &[("maxLenApprox", "100")]).await;
    for n in 0..500 {
        publish(&bus, &n.to_string()).await;
    }
    let length: i64 = redis::from_redis_value(server.run(&["XLEN", "topic"]).await).unwrap();
    assert!((100..500).contains(&length), "{length}");
}
