use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::Properties;
use dapr_components::state::{
    DeleteRequest, Error, Feature, GetRequest, Item, KeyError, Operation, RequestMetadata, SetRequest,
    StateStore, Value,
};
use dapr_kernel::AppIdentity;
use dapr_resiliency::{Policies, PoliciesBuilder};
use dapr_resources::{Resiliency, Resource};
use dapr_telemetry::metrics::catalogue::{Catalogue, CatalogueOptions};
use dapr_telemetry::metrics::{Registry, RegistryOptions};
use parking_lot::Mutex;

use super::*;
use crate::pubsub::Trace;

/// Answers from a script and remembers the keys of every call.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<(), Error>>>,
    calls: Mutex<Vec<Vec<String>>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Result<(), Error>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn answer(&self, keys: Vec<String>) -> Result<(), Error> {
        self.calls.lock().push(keys);
        self.answers.lock().pop_front().unwrap_or(Ok(()))
    }
}

#[async_trait]
impl StateStore for Scripted {
    fn features(&self) -> &[Feature] {
        &[]
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        self.answer(vec![request.key.clone()]).map(|()| None)
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        self.answer(vec![request.key.clone()])
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        self.answer(vec![request.key.clone()])
    }

    async fn bulk_set(&self, requests: &[SetRequest]) -> Result<(), Error> {
        self.answer(requests.iter().map(|r| r.key.clone()).collect())
    }
}

fn retrying() -> Policies {
    let resource = serde_json::json!({
        "metadata": {"name": "r"},
        "spec": {
            "policies": {"retries": {"again": {"policy": "constant", "duration": "1ms", "maxRetries": 3}}},
            "targets": {"components": {"s": {"outbound": {"retry": "again"}}}}
        }
    });
    let mut builder = PoliciesBuilder::new();
    builder.load(&Resiliency::from_json(&resource).unwrap());
    builder.build()
}

fn store(component: Arc<Scripted>, policies: Policies, metrics: Option<Arc<Catalogue>>) -> Store {
    let service =
        StateService::new(Options { identity: AppIdentity::new("a", None), policies, metrics, outbox: None });
    let properties = Properties::new([("keyPrefix", "none")]).unwrap();
    service.add("s", component, &properties, None).unwrap();
    service.store("s", false).unwrap()
}

fn items(keys: &[&str]) -> Vec<SetRequest> {
    keys.iter().map(|k| SetRequest::new(*k, Value::Bytes(Bytes::new()))).collect()
}

fn failed(pairs: &[(&str, Error)]) -> Result<(), Error> {
    Err(Error::Bulk(pairs.iter().map(|(k, e)| KeyError { key: (*k).to_owned(), error: e.clone() }).collect()))
}

fn conflict() -> Error {
    Error::EtagMismatch(String::new())
}

#[tokio::test]
async fn a_failed_read_is_tried_again() {
    let component = Scripted::new([Err(Error::other("x")), Err(Error::other("y"))]);
    let store = store(component.clone(), retrying(), None);
    store.get(GetRequest { key: "k".to_owned(), ..GetRequest::default() }).await.unwrap();
    assert_eq!(component.calls.lock().len(), 3);
}

#[tokio::test]
async fn an_etag_conflict_is_final() {
    let component = Scripted::new([Err(conflict())]);
    let store = store(component.clone(), retrying(), None);
    let error = store.save(items(&["a"])).await.unwrap_err().into_api(false);
    assert_eq!((error.http, component.calls.lock().len()), (409, 1));
}

#[tokio::test]
async fn only_failed_keys_are_written_again_and_conflicts_are_kept() {
    let first = failed(&[("a", Error::other("x")), ("b", conflict())]);
    let component = Scripted::new([first, Ok(())]);
    let store = store(component.clone(), retrying(), None);
    let error = store.save(items(&["a", "b", "c"])).await.unwrap_err().into_api(false);
    assert_eq!(error.http, 409);
    assert_eq!(*component.calls.lock(), [vec!["a", "b", "c"], vec!["a"]]);
}

#[tokio::test]
async fn operations_are_counted_once_however_often_they_were_tried() {
    let registry = Registry::new(RegistryOptions::default()).unwrap();
    let catalogue = Arc::new(Catalogue::new(&registry, &CatalogueOptions::default()));
    let component = Scripted::new([Err(Error::other("x")), Ok(()), Err(conflict())]);
    let store = store(component, retrying(), Some(catalogue));
    store.save(items(&["a"])).await.unwrap();
    store.delete(DeleteRequest { key: "a".to_owned(), ..DeleteRequest::default() }).await.unwrap_err();
    let text = registry.render();
    let has = |operation: &str, success: &str| {
        text.lines().any(|line| {
            line.starts_with("dapr_component_state_count")
                && line.contains(&format!("operation=\"{operation}\",success=\"{success}\""))
                && line.ends_with(" 1")
        })
    };
    assert!(has("set", "true") && has("delete", "false"), "{text}");
    assert!(!text.contains("success=\"false\",operation=\"set\""));
}

mod encrypted {
    use dapr_security::at_rest::{Keys, NamedKey};

    use super::*;

    fn keys(primary: &str, secondary: Option<&str>) -> Keys {
        let key = |name: &str| NamedKey::new(name, &"ab".repeat(16)).unwrap();
        Keys { primary: key(primary), secondary: secondary.map(key) }
    }

    async fn store(component: Arc<dyn StateStore>, keys: Keys) -> Store {
        let options = Options {
            identity: AppIdentity::new("a", None),
            policies: Policies::default(),
            metrics: None,
            outbox: None,
        };
        let service = StateService::new(options);
        service.add("s", component, &Properties::default(), Some(keys)).unwrap();
        service.store("s", false).unwrap()
    }

    async fn read(store: &Store, key: &str) -> Result<Bytes, String> {
        let request = GetRequest { key: key.to_owned(), ..GetRequest::default() };
        let found = store.get(request).await.map_err(|e| e.into_api(true).message)?;
        Ok(found.unwrap().data)
    }

    #[tokio::test]
    async fn values_are_unreadable_in_the_store_and_come_back() {
        let component: Arc<dyn StateStore> = Arc::new(dapr_in_memory::StateStore::new(
            &dapr_kernel::tasks::TaskGroup::new(dapr_kernel::Shutdown::new()),
        ));
        let old = store(component.clone(), keys("old", None)).await;
        let json = |text: &'static str| Value::Json(Bytes::from_static(text.as_bytes()));
        let bytes = Value::Bytes(Bytes::from_static(b"\0raw"));
        let transaction = Operation::Upsert(SetRequest::new("t", bytes.clone()));
        let items = [("text", json("\"v\"")), ("map", json("{\"b\":1,\"a\":null}")), ("raw", bytes)];
        old.save(items.map(|(key, value)| SetRequest::new(key, value)).into()).await.unwrap();
        old.transact(vec![transaction], RequestMetadata::new(), Trace::default()).await.unwrap();
        let request = GetRequest { key: "a||text".to_owned(), ..GetRequest::default() };
        let stored = component.get(&request).await.unwrap().unwrap().data;
        assert!(String::from_utf8_lossy(&stored).ends_with("||old"), "{stored:?}");
        let rotated = store(component.clone(), keys("new", Some("old"))).await;
        for (key, expected) in [("text", "v"), ("map", "map[a:<nil> b:1]"), ("raw", "\0raw"), ("t", "\0raw")]
        {
            assert_eq!(read(&rotated, key).await.unwrap(), expected, "{key}");
        }
        let without = store(component, keys("new", None)).await;
        let error = read(&without, "text").await.unwrap_err();
        assert!(error.starts_with("fail to get text from state store s: could not decrypt data"), "{error}");
        let (keys, metadata) = (vec!["text".to_owned(), "none".to_owned()], RequestMetadata::new());
        let items = without.bulk_get(keys, &metadata, 0).await.unwrap();
        assert!(items.iter().any(|i| i.key == "text" && i.result.is_err()), "{items:?}");
        assert!(items.iter().any(|i| i.key == "none" && matches!(i.result, Ok(None))), "{items:?}");
        assert!(without.is_encrypted());
    }
}
