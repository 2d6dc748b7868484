use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::Properties;
use dapr_components::state::{
    DeleteRequest, Error, Feature, GetRequest, Item, KeyError, SetRequest, StateStore, Value,
};
use dapr_kernel::AppIdentity;
use dapr_resiliency::{Policies, PoliciesBuilder, spec};
use dapr_telemetry::metrics::catalogue::{Catalogue, CatalogueOptions};
use dapr_telemetry::metrics::{Registry, RegistryOptions};
use parking_lot::Mutex;

use super::*;

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
    builder.load(&spec::Resource::from_value(&resource).unwrap());
    builder.build()
}

fn store(component: Arc<Scripted>, policies: Policies, metrics: Option<Arc<Catalogue>>) -> Store {
    let service = StateService::new(Options { identity: AppIdentity::new("a", None), policies, metrics });
    let properties = Properties::new([("keyPrefix", "none")]).unwrap();
    service.add("s", component, &properties).unwrap();
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
