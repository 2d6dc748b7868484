//! Many messages with one call, to and from a broker in another process that
//! is reached over a Unix socket.
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_blackbox::{
    ComponentStream, FakeApp, Options, Pluggable, Refusal, Request, Response, Scratch, Sidecar, ask_grpc,
    component, grpc_frame, respond, respond_json,
};
use dapr_wire::components::v1 as wire;
use dapr_wire::runtime::v1 as rt;
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const SERVICE: &str = "dapr.proto.components.v1.PubSub";
const PULL: &str = "/dapr.proto.components.v1.PubSub/PullMessages";
const BULK_PUBLISH: &str = "/dapr.proto.runtime.v1.Dapr/BulkPublishEvent";
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// What a broker was asked to publish.
#[derive(Default)]
struct Published {
    one_by_one: Vec<wire::PublishRequest>,
    at_once: Vec<wire::BulkPublishRequest>,
}

struct Broker {
    scratch: Scratch,
    published: Arc<Mutex<Published>>,
    streams: mpsc::Receiver<ComponentStream>,
    _serving: Pluggable,
}

impl Broker {
    /// Messages whose data is `bad` do not get through, calls for the topic
    /// `closed` fail.
    fn start(features: &[&str]) -> Self {
        let scratch = Scratch::new("pluggable");
        let socket = scratch.write("sockets/.keep", "").with_file_name("fake.sock");
        let features: Vec<_> = features.iter().map(|f| (*f).to_owned()).collect();
        let published = Arc::new(Mutex::new(Published::default()));
        let kept = published.clone();
        let answer = move |path: &str, message: &[u8]| match path.rsplit('/').next().unwrap_or_default() {
            "Features" => Ok(wire::FeaturesResponse { features: features.clone() }.encode_to_vec()),
            "Publish" => {
                let request = wire::PublishRequest::decode(message).expect("a request");
                let is_bad = is_bad(&request.data);
                kept.lock().one_by_one.push(request);
                if is_bad { Err(refusal("no such luck")) } else { Ok(Vec::new()) }
            }
            "BulkPublish" => {
                let request = wire::BulkPublishRequest::decode(message).expect("a request");
                let failed = request.entries.iter().filter(|e| is_bad(&e.event)).map(|e| {
                    let error = format!("no luck with {}", e.entry_id);
                    wire::BulkPublishResponseFailedEntry { entry_id: e.entry_id.clone(), error }
                });
                let answer = wire::BulkPublishResponse { failed_entries: failed.collect() };
                let is_closed = request.topic == "closed";
                kept.lock().at_once.push(request);
                if is_closed { Err(refusal("closed today")) } else { Ok(answer.encode_to_vec()) }
            }
            _ => Ok(Vec::new()),
        };
        let (serving, streams) = Pluggable::start_with_streams(&socket, &[SERVICE], PULL, answer);
        Self { scratch, published, streams, _serving: serving }
    }

    async fn sidecar(&self, options: Options) -> Sidecar {
        let manifest = component("bus", "pubsub.fake", &json!({}));
        let sockets = self.scratch.path().join("sockets");
        let options = options
            .resources(self.scratch.resources("resources", &[&manifest]))
            .env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
        Sidecar::start(&self.scratch, options).await
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal { code: UNAVAILABLE, message: message.to_owned(), details: Vec::new() }
}

/// The data in an envelope.
fn data(envelope: &[u8]) -> Value {
    serde_json::from_slice::<Value>(envelope).expect("an envelope is JSON")["data"].take()
}

fn is_bad(envelope: &[u8]) -> bool {
    data(envelope) == "bad"
}

/// Ids and data of entries.
const ENTRIES: [(&str, &str); 5] = [("e", "one"), ("d", "bad"), ("c", "two"), ("b", "bad"), ("a", "three")];

async fn publish_over_http(sidecar: &Sidecar, topic: &str, entries: &[(&str, &str)]) -> (u16, Value) {
    let entries: Vec<_> = entries
        .iter()
        .map(|(id, data)| json!({"entryId": id, "event": data, "contentType": "text/plain"}))
        .collect();
    let answer = sidecar.client.post(&format!("/v1.0/publish/bulk/bus/{topic}"), &json!(entries)).await;
    let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    (answer.status.as_u16(), body)
}

/// The status when not all were published: the answer has no room for entries then.
async fn publish_over_grpc(
    sidecar: &Sidecar,
    topic: &str,
    entries: &[(&str, &str)],
) -> Result<(), (i32, String)> {
    let entries = entries.iter().map(|(id, data)| rt::BulkPublishRequestEntry {
        entry_id: (*id).to_owned(),
        event: data.as_bytes().to_vec().into(),
        content_type: "text/plain".to_owned(),
        ..Default::default()
    });
    let request = rt::BulkPublishRequest {
        pubsub_name: "bus".to_owned(),
        topic: topic.to_owned(),
        entries: entries.collect(),
        ..Default::default()
    };
    let answer = ask_grpc(sidecar.grpc_port, BULK_PUBLISH, &[], grpc_frame(&request.encode_to_vec())).await;
    match answer.code() {
        Some(0) => {
            let answer = rt::BulkPublishResponse::decode(answer.body.slice(5..)).expect("a response");
            assert_eq!(answer.failed_entries, []);
            Ok(())
        }
        code => {
            let message = answer.field("grpc-message").unwrap_or_default();
            Err((code.expect("a status"), message.replace("%20", " ")))
        }
    }
}

/// The failed entries in the answer over HTTP, by id.
fn failed(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let entries = answer["failedEntries"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let mut failed: Vec<_> = entries.iter().map(|e| (text(&e["entryId"]), text(&e["error"]))).collect();
    failed.sort();
    failed
}

fn named(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(id, error)| ((*id).to_owned(), (*error).to_owned())).collect()
}

#[tokio::test]
async fn a_broker_that_takes_many_gets_one_call() {
    let broker = Broker::start(&["BULK_PUBSUB"]);
    let sidecar = broker.sidecar(Options::new("publisher")).await;
    let expected = named(&[("b", "no luck with b"), ("d", "no luck with d")]);

    let (status, answer) = publish_over_http(&sidecar, "orders", &ENTRIES).await;
    assert_eq!((status, failed(&answer)), (500, expected));
    assert_eq!(answer["errorCode"], "ERR_PUBSUB_PUBLISH_MESSAGE");
    let refused = publish_over_grpc(&sidecar, "orders", &ENTRIES).await;
    let reason = "error when publishing to topic orders in pubsub bus: no luck with d";
    assert_eq!(refused, Err((INTERNAL, reason.to_owned())));
    {
        let published = broker.published.lock();
        assert_eq!((published.one_by_one.len(), published.at_once.len()), (0, 2));
        for request in &published.at_once {
            assert_eq!((request.pubsub_name.as_str(), request.topic.as_str()), ("bus", "orders"));
            let got: Vec<_> = request.entries.iter().map(|e| (e.entry_id.as_str(), data(&e.event))).collect();
            assert_eq!(got, ENTRIES.map(|(id, data)| (id, json!(data))));
        }
    }

    let good = &ENTRIES[..1];
    assert_eq!(publish_over_http(&sidecar, "orders", good).await, (204, Value::Null));
    assert_eq!(publish_over_grpc(&sidecar, "orders", good).await, Ok(()));

    let error = "rpc error: code = Unavailable desc = closed today";
    let (status, answer) = publish_over_http(&sidecar, "closed", &ENTRIES[..2]).await;
    assert_eq!((status, failed(&answer)), (500, named(&[("d", error), ("e", error)])));
    let refused = publish_over_grpc(&sidecar, "closed", &ENTRIES[..2]).await;
    let reason = format!("error when publishing to topic closed in pubsub bus: {error}");
    assert_eq!(refused, Err((INTERNAL, reason)));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_broker_that_takes_one_gets_a_call_for_each() {
    let broker = Broker::start(&[]);
    let sidecar = broker.sidecar(Options::new("publisher")).await;
    let (status, answer) = publish_over_http(&sidecar, "orders", &ENTRIES).await;
    let error = "rpc error: code = Unavailable desc = no such luck";
    assert_eq!((status, failed(&answer)), (500, named(&[("b", error), ("d", error)])));
    let published = std::mem::take(&mut *broker.published.lock());
    assert_eq!((published.one_by_one.len(), published.at_once.len()), (ENTRIES.len(), 0));
    let mut got: Vec<_> = published.one_by_one.iter().map(|r| data(&r.data).to_string()).collect();
    got.sort();
    assert_eq!(got, ["\"bad\"", "\"bad\"", "\"one\"", "\"three\"", "\"two\""]);
    assert!(published.one_by_one.iter().all(|r| r.pubsub_name == "bus" && r.topic == "orders"));
    sidecar.stop().await;
}

/// What the application says to a message is the message's data.
fn judge(request: &Request, batches: &Mutex<Vec<Value>>) -> Response {
    match request.uri().path() {
        "/dapr/subscribe" => respond_json(&json!([{
            "pubsubname": "bus",
            "topic": "orders",
            "route": "/orders",
            "metadata": {"of": "the subscription"},
            "bulkSubscribe": {"enabled": true, "maxMessagesCount": 10, "maxAwaitDurationMs": 5},
        }])),
        "/orders" => {
            let batch: Value = serde_json::from_slice(request.body()).expect("a batch is JSON");
            let statuses = batch["entries"].as_array().expect("entries").iter();
            let statuses: Vec<_> = statuses
                .filter(|entry| entry["event"]["data"] != "silence")
                .map(|entry| json!({"entryId": entry["entryId"], "status": entry["event"]["data"]}))
                .collect();
            batches.lock().push(batch);
            respond_json(&json!({"statuses": statuses}))
        }
        _ => respond(404, ""),
    }
}

fn pulled(message: Option<Vec<u8>>) -> wire::PullMessagesRequest {
    wire::PullMessagesRequest::decode(message.expect("a message").as_slice()).expect("a request")
}

/// A component's messages come one after the other, so each is a batch of its
/// own; each is acknowledged by its ID as the application judged it.
#[tokio::test]
async fn messages_are_acknowledged_one_by_one() {
    let mut broker = Broker::start(&[]);
    let batches = Arc::new(Mutex::new(Vec::new()));
    let kept = batches.clone();
    let app = FakeApp::start(move |request| {
        let response = judge(&request, &kept);
        async { response }
    })
    .await;
    let sidecar = broker.sidecar(Options::new("subscriber").app(app.port)).await;
    let mut stream = broker.streams.recv().await.expect("a subscription");
    let topic = pulled(stream.next().await).topic.expect("the first message names the topic");
    assert_eq!(topic.name, "orders");
    assert_eq!(topic.metadata.get("of").map(String::as_str), Some("the subscription"));

    let data = ["SUCCESS", "RETRY", "DROP", "silence", "nonsense", "SUCCESS"];
    for (id, data) in data.iter().enumerate() {
        let event = json!({
            "specversion": "1.0", "id": id.to_string(), "type": "t", "source": "elsewhere",
            "datacontenttype": "text/plain", "data": data,
        });
        let message = wire::PullMessagesResponse {
            data: event.to_string().into_bytes().into(),
            topic_name: "orders".to_owned(),
            metadata: [("n".to_owned(), id.to_string())].into(),
            content_type: "application/cloudevents+json".to_owned(),
            id: format!("message {id}"),
        };
        stream.send(&message.encode_to_vec()).await;
    }
    let mut acks = Vec::new();
    for _ in data {
        let ack = pulled(stream.next().await);
        assert_eq!(ack.topic, None);
        acks.push((ack.ack_message_id, ack.ack_error.map(|e| e.message)));
    }
    let ids: Vec<_> = acks.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, (0..data.len()).map(|id| format!("message {id}")).collect::<Vec<_>>());
    let is_failed: Vec<_> = acks.iter().map(|(_, error)| error.is_some()).collect();
    assert_eq!(is_failed, [false, true, false, true, true, false]);

    let batches = std::mem::take(&mut *batches.lock());
    assert_eq!(batches.len(), data.len());
    for (n, (batch, data)) in batches.iter().zip(data).enumerate() {
        assert_eq!(
            (&batch["type"], &batch["topic"], &batch["pubsubname"]),
            (&json!("com.dapr.event.sent.bulk"), &json!("orders"), &json!("bus"))
        );
        let [entry] = batch["entries"].as_array().expect("entries").as_slice() else { panic!("{batch}") };
        assert_eq!((&entry["event"]["data"], &entry["event"]["id"]), (&json!(data), &json!(n.to_string())));
        assert_eq!(entry["metadata"]["n"], n.to_string());
        assert_eq!(entry["contentType"], "application/cloudevents+json");
    }
    sidecar.stop().await;
}
