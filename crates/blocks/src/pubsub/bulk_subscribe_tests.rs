use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_components::pubsub::{HandlerError, Message, MessageHandler};
use dapr_kernel::{AppIdentity, Shutdown};
use serde_json::{Value, json};

use super::bulk_subscribe::batching;
use super::deliver::AppPostman;
use super::handler::{Drain, Handler};
use super::*;
use crate::test_app::{Seen, TestApp};

struct Fixture {
    service: PubSubService,
    handler: Arc<dyn MessageHandler>,
}

fn fixture(app: &TestApp, dead_letter: &str, raw: bool, bulk: Bulk) -> Fixture {
    let service = PubSubService::new(Options {
        identity: AppIdentity::new("me", None),
        policies: dapr_resiliency::Policies::default(),
        tasks: app.tasks.clone(),
        skip_programmatic: true,
        metrics: None,
        tracer: dapr_telemetry::trace::Tracer::default(),
    });
    let bus = Arc::new(dapr_in_memory::PubSub::new(app.tasks.clone()));
    service.add("p", bus, PubSubConfig::default());
    service.set_app_channel(Some(app.channel.clone()));
    let metadata = if raw { BTreeMap::from([("rawPayload".into(), "true".into())]) } else { BTreeMap::new() };
    let route = Route {
        pubsub: "p".into(),
        topic: "t".into(),
        rules: vec![Rule::new("", "/bulk").unwrap()],
        metadata,
        dead_letter_topic: dead_letter.into(),
        bulk: Some(bulk),
        origin: Origin::Declarative,
    };
    let handler = Handler {
        service: service.clone(),
        loaded: service.loaded("p").unwrap(),
        route: Arc::new(route),
        postman: Arc::new(AppPostman { service: service.clone() }),
        drain: Arc::new(Drain::default()),
        stop: Shutdown::new(),
    };
    Fixture { service, handler: batching(handler, bulk) }
}

fn batches_of(count: usize) -> Bulk {
    Bulk { max_messages: count, max_await: Duration::from_secs(30) }
}

fn message(id: &str) -> Message {
    let data = json!({"id": id, "data": {"n": 1}}).to_string();
    Message { topic: "t".into(), data: Bytes::from(data), ..Message::default() }
}

fn entries(seen: &Seen) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    body["entries"].as_array().unwrap().clone()
}

/// Answers every entry with what `status` says to its event's id.
fn statuses(seen: &Seen, status: impl Fn(&str) -> &'static str) -> String {
    let statuses: Vec<_> = entries(seen)
        .iter()
        .map(|e| json!({"entryId": e["entryId"], "status": status(e["event"]["id"].as_str().unwrap_or_default())}))
        .collect();
    json!({ "statuses": statuses }).to_string()
}

async fn handle(fixture: &Fixture, messages: Vec<Message>) -> Vec<Result<(), HandlerError>> {
    let all = futures::future::join_all(messages.into_iter().map(|m| fixture.handler.handle(m)));
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap()
}

#[tokio::test]
async fn a_full_batch_is_sent_at_once_and_each_message_has_its_own_outcome() {
    let mut app = TestApp::start(|seen| {
        (
            200,
            statuses(seen, |id| match id {
                "good" => "SUCCESS",
                "drop" => "DROP",
                _ => "RETRY",
            }),
        )
    })
    .await;
    let fixture = fixture(&app, "", false, batches_of(3));
    let outcomes = handle(&fixture, vec![message("good"), message("bad"), message("drop")]).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(()), &Ok(())));
    let Err(HandlerError::Failed(reason)) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(
        reason.starts_with("RETRY required while processing bulk subscribe event for entry id: "),
        "{reason}"
    );

    let seen = app.next().await;
    assert_eq!((seen.path.as_str(), seen.headers["pubsubname"].as_bytes()), ("/bulk", &b"p"[..]));
    assert_eq!(seen.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(
        (&body["type"], &body["topic"], &body["pubsubname"], &body["metadata"]),
        (&json!("com.dapr.event.sent.bulk"), &json!("t"), &json!("p"), &json!({"pubsubName": "p"}))
    );
    let first = &entries(&seen)[0];
    assert_eq!(
        (&first["event"]["id"], &first["contentType"]),
        (&json!("good"), &json!("application/cloudevents+json"))
    );
}

#[tokio::test]
async fn a_batch_that_is_not_full_is_sent_after_its_window() {
    let mut app = TestApp::start(|seen| (200, statuses(seen, |_| "SUCCESS"))).await;
    let bulk = Bulk { max_messages: 100, max_await: Duration::from_millis(50) };
    let fixture = fixture(&app, "", false, bulk);
    assert_eq!(handle(&fixture, vec![message("1"), message("2")]).await, [Ok(()), Ok(())]);
    assert_eq!(entries(&app.next().await).len(), 2);
}

#[tokio::test]
async fn answers_to_the_whole_batch() {
    for (status, body, acknowledged) in
        [(404, "", true), (500, "", false), (200, "not json", false), (200, "{}", false), (200, "", false)]
    {
        let app = TestApp::start(move |_| (status, body.to_owned())).await;
        let fixture = fixture(&app, "", false, batches_of(1));
        let outcomes = handle(&fixture, vec![message("1")]).await;
        assert_eq!(outcomes[0].is_ok(), acknowledged, "{status} {body}: {outcomes:?}");
    }
}

#[tokio::test]
async fn raw_payloads_travel_as_base64() {
    let mut app = TestApp::start(|seen| (200, statuses(seen, |_| "SUCCESS"))).await;
    let fixture = fixture(&app, "", true, batches_of(1));
    let raw = Message { data: Bytes::from_static(b"ab"), ..message("") };
    assert_eq!(handle(&fixture, vec![raw]).await, [Ok(())]);
    let entry = entries(&app.next().await).remove(0);
    assert_eq!(
        (&entry["event"], &entry["contentType"]),
        (&json!("YWI="), &json!("application/octet-stream"))
    );
}

#[tokio::test]
async fn what_fails_or_is_dropped_becomes_a_dead_letter() {
    let app =
        TestApp::start(|seen| (200, statuses(seen, |id| if id == "drop" { "DROP" } else { "RETRY" }))).await;
    let fixture = fixture(&app, "dead", false, batches_of(3));
    let request = StreamRequest { pubsub: "p".into(), topic: "dead".into(), ..StreamRequest::default() };
    let mut letters = fixture.service.open_stream(request).await.unwrap();
    let broken = Message { data: Bytes::from_static(b"[]"), ..message("") };
    let collected = async {
        let mut ids = Vec::new();
        while ids.len() < 2 {
            let letter = letters.next().await.unwrap();
            letters.acks().processed(&letter.id, 0);
            ids.push(letter.id);
        }
        ids
    };
    let (outcomes, mut ids) =
        tokio::join!(handle(&fixture, vec![message("drop"), message("bad"), broken]), collected);
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(())]);
    ids.sort();
    assert_eq!(ids, ["bad", "drop"]);
}
