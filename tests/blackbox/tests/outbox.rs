//! What a transaction writes arrives at the subscriber, in another process.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use dapr_blackbox::{FakeApp, Options, Scratch, Sidecar, component, eventually, respond, respond_json};
use parking_lot::Mutex;
use serde_json::{Value, json};

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn written_items_are_published_once_and_in_their_projection() {
    let scratch = Scratch::new("outbox");
    let database = |name: &str| scratch.path().join(name);
    let bus = component("bus", "pubsub.sqlite", &json!({"connectionString": database("bus.db")}));
    let store = component(
        "store",
        "state.sqlite",
        &json!({
            "connectionString": database("state.db"),
            "outboxPublishPubsub": "bus",
            "outboxPublishTopic": "changes",
        }),
    );
    let events = Arc::new(Mutex::new(Vec::<Value>::new()));
    let seen = events.clone();
    let app = FakeApp::start(move |request| {
        let response = match request.uri().path() {
            "/dapr/subscribe" => {
                respond_json(&json!([{"pubsubname": "bus", "topic": "changes", "route": "/changes"}]))
            }
            "/changes" => {
                seen.lock().push(serde_json::from_slice(request.body()).expect("an envelope is JSON"));
                respond_json(&json!({"status": "SUCCESS"}))
            }
            _ => respond(404, ""),
        };
        async { response }
    })
    .await;
    let bus_only = scratch.resources("bus", &[&bus]);
    let subscriber = Sidecar::start(&scratch, Options::new("reader").app(app.port).resources(bus_only)).await;
    let both = scratch.resources("both", &[&bus, &store]);
    // No application: the outbox needs none.
    let writer = Sidecar::start(&scratch, Options::new("writer").resources(both)).await;
    let typed = json!({"contentType": "application/json"});
    let projection = json!({"contentType": "application/json", "outbox.projection": "true"});
    let upsert = |key: &str, value: Value, metadata: &Value| json!({"operation": "upsert", "request": {"key": key, "value": value, "metadata": metadata}});
    let operations = json!({"operations": [
        upsert("a", json!({"n": 1}), &typed),
        upsert("a", json!({"shown": true}), &projection),
        upsert("b", json!("text"), &json!({"cloudevent.custom": "x", "subject": "s"})),
        {"operation": "delete", "request": {"key": "c"}},
    ]});
    writer.client.post("/v1.0/state/store/transaction", &operations).await.expect(204);
    assert_eq!(writer.client.get("/v1.0/state/store/a").await.expect(200).json(), json!({"n": 1}));
    eventually("both changes are delivered", DELIVERY_TIMEOUT, || {
        let count = events.lock().len();
        async move { if count == 2 { Ok(()) } else { Err(format!("{count} events")) } }
    })
    .await;
    let events = events.lock().clone();
    let find =
        |subject: &Value| events.iter().find(|e| e["subject"] == *subject).expect("an event of each item");
    let (projected, text) = (find(&Value::Null), find(&"s".into()));
    assert_eq!(projected["data"], json!({"shown": true}));
    for (attribute, expected) in
        [("data", "text"), ("source", "writer"), ("topic", "changes"), ("pubsubname", "bus")]
    {
        assert_eq!(text[attribute], expected, "{attribute}");
    }
    writer.stop().await;
    subscriber.stop().await;
}
