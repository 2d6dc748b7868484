//! Publishing (api.md §2.3, §3.3).

use std::time::Duration;

use dapr_blackbox::{FakeApp, Options, Scratch, Sidecar, component, eventually, grpc_frame, respond};
use dapr_wire::common::v1::StateItem;
use dapr_wire::runtime::v1 as rt;
use dapr_wire::runtime::v1::subscribe_topic_events_request_alpha1::SubscribeTopicEventsRequestType;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ask::Ask;
use crate::fakes;

fn publish(pubsub: &str, topic: &str) -> rt::PublishEventRequest {
    rt::PublishEventRequest { pubsub_name: pubsub.into(), topic: topic.into(), ..Default::default() }
}

fn bulk(pubsub: &str, topic: &str, ids: &[&str]) -> rt::BulkPublishRequest {
    let entry = |id: &&str| rt::BulkPublishRequestEntry {
        entry_id: (*id).into(),
        event: b"x".as_slice().into(),
        content_type: "text/plain".into(),
        ..Default::default()
    };
    let entries = ids.iter().map(entry).collect();
    rt::BulkPublishRequest { pubsub_name: pubsub.into(), topic: topic.into(), entries, ..Default::default() }
}

fn raw(value: &str) -> std::collections::HashMap<String, String> {
    [("rawPayload".to_owned(), value.to_owned())].into()
}

#[tokio::test]
async fn no_pubsub() {
    let scratch = Scratch::new("errors");
    let sidecar = Sidecar::start(&scratch, Options::new("errors")).await;
    let mut ask = Ask::new(&sidecar, "pubsub-none");
    ask.http("publish", "POST /v1.0/publish/none/t", "{}").await;
    ask.http("bulk", "POST /v1.0/publish/bulk/none/t", "[]").await;
    ask.http("bulk alpha", "POST /v1.0-alpha1/publish/bulk/none/t", "[]").await;
    ask.grpc("publish", "PublishEvent", &publish("none", "t")).await;
    ask.grpc("bulk", "BulkPublishEvent", &bulk("none", "t", &["1"])).await;
    ask.grpc("bulk alpha", "BulkPublishEventAlpha1", &bulk("none", "t", &["1"])).await;
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn refused() {
    let scratch = Scratch::new("errors");
    let sockets = scratch.path().join("sockets");
    let _broker = fakes::broker(&sockets, "broker");
    let scopes = json!({"publishingScopes": "errors=allowed", "allowedTopics": "allowed,other"});
    let manifests = [
        component("bus", "pubsub.in-memory", &json!({})),
        component("scoped", "pubsub.in-memory", &scopes),
        component("broken", "pubsub.broker", &json!({})),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1], &manifests[2]]);
    let options = Options::new("errors").resources(resources);
    let options = options.env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "pubsub");
    names(&mut ask).await;
    metadata_and_failures(&mut ask).await;
    bulk_bodies(&mut ask).await;
    subscriptions(&mut ask).await;
    ask.done();
    sidecar.stop().await;
}

async fn names(ask: &mut Ask<'_>) {
    ask.http("unknown", "POST /v1.0/publish/none/t", "{}").await;
    ask.http("unknown bulk", "POST /v1.0/publish/bulk/none/t", "[]").await;
    ask.http("no topic", "POST /v1.0/publish/bus/", "{}").await;
    ask.http("blank topic", "POST /v1.0/publish/bus/%20", "{}").await;
    ask.http("forbidden", "POST /v1.0/publish/scoped/secret", "{}").await;
    ask.http("forbidden by scope", "POST /v1.0/publish/scoped/other", "{}").await;
    ask.http("forbidden bulk", "POST /v1.0/publish/bulk/scoped/secret", "[]").await;
    ask.grpc("unknown", "PublishEvent", &publish("none", "t")).await;
    ask.grpc("unknown bulk", "BulkPublishEvent", &bulk("none", "t", &["1"])).await;
    ask.grpc("no name", "PublishEvent", &publish("", "t")).await;
    ask.grpc("no name bulk", "BulkPublishEvent", &bulk("", "t", &["1"])).await;
    ask.grpc("no topic", "PublishEvent", &publish("bus", "")).await;
    ask.grpc("no topic bulk", "BulkPublishEvent", &bulk("bus", "", &["1"])).await;
    ask.grpc("forbidden", "PublishEvent", &publish("scoped", "secret")).await;
    ask.grpc("forbidden bulk", "BulkPublishEvent", &bulk("scoped", "secret", &["1"])).await;
}

async fn metadata_and_failures(ask: &mut Ask<'_>) {
    ask.http("raw is no boolean", "POST /v1.0/publish/bus/t?metadata.rawPayload=maybe", "{}").await;
    ask.http("raw bulk", "POST /v1.0/publish/bulk/bus/t?metadata.rawPayload=maybe", "[]").await;
    let message = rt::PublishEventRequest { metadata: raw("maybe"), ..publish("bus", "t") };
    ask.grpc("raw is no boolean", "PublishEvent", &message).await;
    let message = rt::BulkPublishRequest { metadata: raw("maybe"), ..bulk("bus", "t", &["1"]) };
    ask.grpc("raw bulk", "BulkPublishEvent", &message).await;
    ask.http("no JSON for a cloud event", "POST /v1.0/publish/bus/t", "{not").await;
    let event = [("content-type", "application/cloudevents+json")];
    ask.http_with("no cloud event", "POST /v1.0/publish/bus/t", &event, "{not").await;
    let message = rt::PublishEventRequest {
        data: b"{not".as_slice().into(),
        data_content_type: "application/cloudevents+json".into(),
        ..publish("bus", "t")
    };
    ask.grpc("no cloud event", "PublishEvent", &message).await;
    ask.http("broken", "POST /v1.0/publish/broken/fail", "{}").await;
    ask.grpc("broken", "PublishEvent", &publish("broken", "fail")).await;
    ask.http("own", "POST /v1.0/publish/broken/own", "{}").await;
    ask.grpc("own", "PublishEvent", &publish("broken", "own")).await;
    let one = r#"[{"entryId": "1", "event": "x", "contentType": "text/plain"}]"#;
    ask.http("broken bulk", "POST /v1.0/publish/bulk/broken/fail", one).await;
    ask.grpc("broken bulk", "BulkPublishEvent", &bulk("broken", "fail", &["1"])).await;
}

async fn bulk_bodies(ask: &mut Ask<'_>) {
    let line = "POST /v1.0/publish/bulk/bus/t";
    ask.http("bulk object", line, "{}").await;
    ask.http("bulk nothing", line, "").await;
    ask.http("bulk cut off", line, r#"[{"entryId": "1""#).await;
    ask.http("bulk nonsense", line, "nonsense").await;
    ask.http("bulk number for an ID", line, r#"[{"entryId": 1}]"#).await;
    let twice = r#"[{"entryId": "1", "event": "x", "contentType": "text/plain"},
        {"entryId": "1", "event": "y", "contentType": "text/plain"}]"#;
    ask.http("bulk twice", line, twice).await;
    let blank = r#"[{"event": "x", "contentType": "text/plain"}]"#;
    ask.http("bulk without an ID", line, blank).await;
    for (what, event) in [
        ("bulk text is an object", r#"{"entryId": "1", "event": {}, "contentType": "text/plain"}"#),
        ("bulk no content type", r#"{"entryId": "1", "event": "x"}"#),
        ("bulk no base64", r#"{"entryId": "1", "event": "a*", "contentType": "application/octet-stream"}"#),
        (
            "bulk no cloud event",
            r#"{"entryId": "1", "event": "x", "contentType": "application/cloudevents+json"}"#,
        ),
        (
            "bulk raw entry",
            r#"{"entryId": "1", "event": "x", "contentType": "text/plain", "metadata": {"rawPayload": "maybe"}}"#,
        ),
    ] {
        ask.http(what, line, format!("[{event}]")).await;
    }
    ask.grpc("bulk twice", "BulkPublishEvent", &bulk("bus", "t", &["1", "1"])).await;
    ask.grpc("bulk without an ID", "BulkPublishEvent", &bulk("bus", "t", &[""])).await;
    let mut message = bulk("bus", "t", &["1"]);
    message.entries[0].content_type = "application/cloudevents+json".into();
    ask.grpc("bulk no cloud event", "BulkPublishEvent", &message).await;
}

async fn subscriptions(ask: &mut Ask<'_>) {
    for (what, pubsub, topic) in [
        ("subscribe without a name", "", "t"),
        ("subscribe without a topic", "bus", ""),
        ("subscribe unknown", "none", "t"),
        ("subscribe forbidden", "scoped", "secret"),
    ] {
        let initial = rt::SubscribeTopicEventsRequestInitialAlpha1 {
            pubsub_name: pubsub.into(),
            topic: topic.into(),
            ..Default::default()
        };
        let request = rt::SubscribeTopicEventsRequestAlpha1 {
            subscribe_topic_events_request_type: Some(SubscribeTopicEventsRequestType::InitialRequest(
                initial,
            )),
        };
        let frames = grpc_frame(&request.encode_to_vec());
        ask.grpc_stream(what, "SubscribeTopicEventsAlpha1", &[], frames).await;
    }
    let nothing = rt::SubscribeTopicEventsRequestAlpha1::default();
    ask.grpc("subscribe without a request", "SubscribeTopicEventsAlpha1", &nothing).await;
}

/// The write is refused when its message cannot be published.
#[tokio::test]
async fn outbox() {
    let scratch = Scratch::new("errors");
    let sockets = scratch.path().join("sockets");
    let _component = fakes::broker(&sockets, "broken");
    let app = FakeApp::start(|_| async { respond(200, "") }).await;
    let store = |name: &str, bus: &str, topic: &str| {
        let metadata = json!({"outboxPublishPubsub": bus, "outboxPublishTopic": topic});
        component(name, "state.in-memory", &metadata)
    };
    let manifests = [
        component("broken", "pubsub.broken", &json!({})),
        component("scoped", "pubsub.in-memory", &json!({"protectedTopics": "defaulterrorstoutbox"})),
        store("fails", "broken", "t fail"),
        store("own", "broken", "t own"),
        store("nowhere", "none", "t"),
        store("forbidden", "scoped", "t"),
    ];
    let manifests: Vec<_> = manifests.iter().map(String::as_str).collect();
    let options = Options::new("errors").app(app.port).resources(scratch.resources("resources", &manifests));
    let options = options.env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "outbox");
    for store in ["fails", "own", "nowhere", "forbidden"] {
        let body = json!({"operations": [{"operation": "upsert", "request": {"key": "k", "value": "v"}}]});
        ask.http(store, &format!("POST /v1.0/state/{store}/transaction"), body.to_string()).await;
        let item = StateItem { key: "k".into(), value: b"v".as_slice().into(), ..StateItem::default() };
        let request = rt::ExecuteStateTransactionRequest {
            store_name: store.into(),
            operations: vec![rt::TransactionalStateOperation {
                operation_type: "upsert".into(),
                request: Some(item),
            }],
            ..Default::default()
        };
        ask.grpc(store, "ExecuteStateTransaction", &request).await;
        ask.http(&format!("{store}: nothing was written"), &format!("GET /v1.0/state/{store}/k"), "").await;
    }
    ask.done();
    sidecar.stop().await;
}

/// A component that is taken away while the body of a request is under way.
#[tokio::test]
async fn vanished() {
    let scratch = Scratch::new("errors");
    let bus = component("bus", "pubsub.in-memory", &json!({}));
    let folder = scratch.resources("resources", &[&bus]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(&folder)).await;
    let mut ask = Ask::new(&sidecar, "pubsub-vanished");
    let mut streams = Vec::new();
    for (what, path) in [("publish", "/v1.0/publish/bus/t"), ("bulk", "/v1.0/publish/bulk/bus/t")] {
        let mut stream = TcpStream::connect(("127.0.0.1", sidecar.http_port)).await.expect("the sidecar");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("half a request");
        streams.push((what, stream));
    }
    // The sidecar looks for the component before it reads on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::remove_file(folder.join("0.yaml")).expect("the manifest");
    eventually("the component is gone", Duration::from_secs(30), || async {
        let metadata = sidecar.client.get("/v1.0/metadata").await.text();
        if metadata.contains("pubsub.in-memory") { Err(metadata) } else { Ok(()) }
    })
    .await;
    for (what, mut stream) in streams {
        let rest = r#"{"entryId":"1","event":"x","contentType":"text/plain"}]"#;
        let rest = format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
        stream.write_all(rest.as_bytes()).await.expect("the other half");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        ask.compare("http", what, &format!("{status} {body}"));
    }
    ask.done();
    sidecar.stop().await;
}
