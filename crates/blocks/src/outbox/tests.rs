use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::Properties;
use dapr_components::pubsub::{HandlerError, Message, MessageHandler};
use dapr_components::state::{
    DeleteRequest, GetRequest, Operation, RequestMetadata, SetRequest, StateStore, Value,
};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_resiliency::Policies;
use tokio::sync::mpsc;

use super::event::{Origin, announce};
use super::*;
use crate::pubsub::{self, PubSubConfig, PubSubService, Trace};
use crate::state::{self, StateService};

fn upsert(key: &str, value: Value, metadata: &[(&str, &str)]) -> Operation {
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Operation::Upsert(SetRequest { metadata, ..SetRequest::new(key, value) })
}

fn delete(key: &str) -> Operation {
    Operation::Delete(DeleteRequest { key: key.to_owned(), ..DeleteRequest::default() })
}

fn json(text: &'static str) -> Value {
    Value::Json(Bytes::from_static(text.as_bytes()))
}

fn announced(operations: &mut Vec<Operation>) -> Vec<serde_json::Value> {
    let trace = Trace { parent: "parent", state: "a=b" };
    let events = announce(operations, Origin { app_id: "app", pubsub: "internal", trace });
    events.iter().map(|e| serde_json::from_slice(&e.event).unwrap()).collect()
}

#[test]
fn a_write_is_told_with_its_metadata() {
    let metadata = [("contentType", "application/json"), ("type", "mine"), ("data", "no"), ("id", "no")];
    let mut operations = vec![upsert("k", json("{\"n\":1.5}"), &metadata), delete("d")];
    let events = announced(&mut operations);
    assert_eq!((events.len(), operations.len()), (1, 2));
    let event = &events[0];
    assert!(event["id"].as_str().unwrap().starts_with("outbox-"), "{event}");
    for (attribute, expected) in [
        ("data", serde_json::json!({"n": 1.5})),
        ("datacontenttype", "application/json".into()),
        ("source", "app".into()),
        ("pubsubname", "internal".into()),
        ("topic", "".into()),
        ("type", "mine".into()),
        ("contentType", "application/json".into()),
        ("traceid", "parent".into()),
        ("traceparent", "".into()),
        ("tracestate", "a=b".into()),
    ] {
        assert_eq!(event[attribute], expected, "{attribute}");
    }
}

#[test]
fn values_without_a_content_type_are_printed() {
    let bytes = Value::Bytes(Bytes::from_static(b"raw"));
    let mut operations = vec![upsert("a", json("{\"n\":1}"), &[]), upsert("b", bytes, &[])];
    let events = announced(&mut operations);
    assert_eq!(events[0]["data"], "map[n:1]");
    assert_eq!(events[1]["data"], "raw");
    assert_eq!(events[1]["datacontenttype"], "text/plain");
}

#[test]
fn a_projection_is_told_and_not_stored() {
    let projection = [("outbox.projection", "true"), ("contentType", "application/json")];
    let mut operations = vec![
        upsert("k", json("1"), &[("subject", "s")]),
        upsert("k", json("2"), &projection),
        upsert("lonely", json("3"), &projection),
        upsert("plain", json("4"), &[("outbox.projection", "false")]),
    ];
    let events = announced(&mut operations);
    assert_eq!(operations.iter().map(Operation::key).collect::<Vec<_>>(), ["k", "plain"]);
    assert_eq!(events.iter().map(|e| &e["data"]).collect::<Vec<_>>(), [&serde_json::json!(2), &"4".into()]);
    assert_eq!(events[0]["subject"], "s");
    assert_eq!(events[0]["outbox.projection"], serde_json::Value::Null);
}

struct Forward(mpsc::Sender<Message>);

#[async_trait]
impl MessageHandler for Forward {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        self.0.send(message).await.map_err(|e| HandlerError::Failed(e.to_string()))
    }
}

/// An application with a store, whose changes go to topic `public`.
struct World {
    outbox: Outbox,
    state: StateService,
    component: Arc<dyn StateStore>,
    published: mpsc::Receiver<Message>,
}

async fn world() -> World {
    let tasks = TaskGroup::new(Shutdown::new());
    let identity = AppIdentity::new("app", None);
    let pubsub = PubSubService::new(pubsub::Options {
        identity: identity.clone(),
        policies: Policies::default(),
        tasks: tasks.clone(),
        skip_programmatic: true,
        metrics: None,
        tracer: Default::default(),
    });
    let bus = Arc::new(dapr_in_memory::PubSub::new(tasks.clone()));
    pubsub.add("bus", bus, PubSubConfig::new(&Properties::default(), "app", false));
    let outbox = Outbox::new(Options { identity: identity.clone(), pubsub: pubsub.clone() });
    let state = StateService::new(state::Options {
        identity,
        policies: Policies::default(),
        metrics: None,
        outbox: Some(outbox.clone()),
    });
    let component: Arc<dyn StateStore> = Arc::new(dapr_in_memory::StateStore::new(&tasks));
    state.add("store", component.clone(), &Properties::default(), None).unwrap();
    let items = [("outboxPublishPubsub", "bus"), ("outboxPublishTopic", "public")];
    let config = Config::from_properties(&Properties::new(items).unwrap());
    outbox.configure("store", config).await;
    outbox.start(&state).await;
    let (sender, published) = mpsc::channel(10);
    pubsub.subscribe_internal("bus", "public", Shutdown::new(), Arc::new(Forward(sender))).await.unwrap();
    World { outbox, state, component, published }
}

impl World {
    async fn write(&self, key: &str) {
        let store = self.state.store("store", false).unwrap();
        let operations = vec![upsert(key, Value::Bytes(Bytes::from_static(b"v")), &[])];
        store.transact(operations, RequestMetadata::new(), Trace::default()).await.unwrap();
    }

    async fn next(&mut self) -> serde_json::Value {
        let message = tokio::time::timeout(Duration::from_secs(30), self.published.recv());
        serde_json::from_slice(&message.await.unwrap().unwrap().data).unwrap()
    }
}

#[tokio::test]
async fn what_was_written_is_published_and_its_marker_goes() {
    let mut world = world().await;
    world.write("k").await;
    let event = world.next().await;
    assert_eq!(
        (&event["data"], &event["topic"], &event["pubsubname"]),
        (&"v".into(), &"public".into(), &"bus".into())
    );
    let marker = GetRequest { key: event["id"].as_str().unwrap().to_owned(), ..GetRequest::default() };
    let gone = async {
        while world.component.get(&marker).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    // A new subscription takes the place of the old one.
    world.outbox.resume_component("bus").await;
    world.write("again").await;
    assert_eq!(world.next().await["data"], "v");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.published.try_recv().is_err(), "published once");
}

#[tokio::test]
async fn a_store_without_an_outbox_publishes_nothing() {
    let mut world = world().await;
    world.outbox.configure("store", None).await;
    world.write("k").await;
    world.outbox.stop();
    let nothing = tokio::time::timeout(Duration::from_millis(1500), world.published.recv()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
