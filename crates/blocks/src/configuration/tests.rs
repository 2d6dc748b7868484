use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{ConfigurationStore, Error, Item, Items, Query, UpdateHandler};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_resiliency::Policies;
use parking_lot::Mutex;

use super::{ConfigurationService, Options};
use crate::test_app::TestApp;

/// Keeps its subscribers, so that a test can tell them of changes.
#[derive(Default)]
struct Store {
    subscribed: Mutex<Vec<(Query, Shutdown, Arc<dyn UpdateHandler>)>>,
}

#[async_trait]
impl ConfigurationStore for Store {
    async fn get(&self, query: &Query) -> Result<Items, Error> {
        match query.keys.first().map(String::as_str) {
            Some("broken") => Err(Error::new("out of order")),
            _ => Ok(items(&query.keys)),
        }
    }

    async fn subscribe(
        &self,
        query: Query,
        stop: Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), Error> {
        if query.keys.iter().any(|key| key == "broken") {
            return Err(Error::new("out of order"));
        }
        self.subscribed.lock().push((query, stop, handler));
        Ok(())
    }
}

fn items(keys: &[String]) -> Items {
    let item = Item { value: "v<1>".into(), version: "2".into(), ..Item::default() };
    keys.iter().map(|key| (key.clone(), item.clone())).collect()
}

fn query(keys: &[&str]) -> Query {
    Query { keys: keys.iter().map(|k| (*k).to_owned()).collect(), ..Query::default() }
}

fn service() -> (ConfigurationService, Arc<Store>) {
    let service = ConfigurationService::new(Options {
        policies: Policies::default(),
        tasks: TaskGroup::new(Shutdown::new()),
        metrics: None,
    });
    let store = Arc::new(Store::default());
    service.add("conf", store.clone());
    (service, store)
}

impl Store {
    fn last(&self) -> (Query, Shutdown, Arc<dyn UpdateHandler>) {
        self.subscribed.lock().last().cloned().unwrap()
    }
}

#[tokio::test]
async fn errors_name_keys_and_store() {
    let (service, _) = service();
    let error = service.get("conf", &query(&["broken", "b"])).await.unwrap_err();
    assert_eq!((error.http, &*error.tag), (500, "ERR_CONFIGURATION_GET"));
    assert_eq!(error.message, "failed to get [broken b] from Configuration store conf: out of order");
    let error = service.get("other", &query(&[])).await.unwrap_err();
    assert_eq!((error.http, &*error.tag), (400, "ERR_CONFIGURATION_STORE_NOT_FOUND"));
    let error = service.subscribe_app("conf", query(&[])).await.unwrap_err();
    assert_eq!((error.http, &*error.tag), (500, "ERR_APP_CHANNEL_NIL"));
    let error = service.subscribe_stream("conf", query(&["broken"])).await.err().unwrap();
    assert_eq!(error.code, dapr_errors::Code::InvalidArgument);
    assert_eq!(error.message, "failed to subscribe [broken] from Configuration store conf: out of order");
    service.remove("conf").unwrap();
    let error = service.get("conf", &query(&[])).await.unwrap_err();
    assert_eq!(error.message, "configuration stores not configured");
}

#[tokio::test]
async fn the_application_is_called_once_a_key_with_the_whole_event() {
    let (service, store) = service();
    let mut app = TestApp::start(|_| (200, String::new())).await;
    service.set_app_channel(Some(app.channel.clone()));
    let id = service.subscribe_app("conf", query(&["a", "b"])).await.unwrap();
    let (asked, stop, handler) = store.last();
    assert_eq!(asked.keys, ["a", "b"]);
    handler.handle(items(&["a".to_owned(), "b".to_owned()])).await;
    for key in ["a", "b"] {
        let seen = app.next().await;
        assert_eq!((seen.method.as_str(), seen.path), ("POST", format!("/configuration/conf/{key}")));
        assert_eq!(seen.headers["content-type"], "application/json");
        let item = r#"{"value":"v\u003c1\u003e","version":"2"}"#;
        assert_eq!(seen.body, format!("{{\"id\":\"{id}\",\"items\":{{\"a\":{item},\"b\":{item}}}}}\n"));
    }
    assert!(service.end_stream(&id).is_err(), "only streams end this way");
    service.unsubscribe("conf", &id).await.unwrap();
    assert!(stop.is_triggered());
    handler.handle(items(&["a".to_owned()])).await;
    assert!(app.is_quiet());
    let error = service.unsubscribe("conf", &id).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "failed to unsubscribe to configuration request {id}: subscription with id {id} does not exist"
        )
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_holder_its_id_its_store_and_the_sidecar() {
    let (service, store) = service();
    let mut stream = service.subscribe_stream("conf", query(&["b", "a"])).await.unwrap();
    let (asked, stop, handler) = store.last();
    assert_eq!(asked.keys, ["a", "b"]);
    handler.handle(items(&["a".to_owned()])).await;
    assert_eq!(stream.next().await.unwrap(), items(&["a".to_owned()]));
    let id = stream.id.clone();
    drop(stream);
    assert!(stop.is_triggered());
    assert!(service.end_stream(&id).unwrap_err().message.ends_with(": subscription does not exist"));

    let mut stream = service.subscribe_stream("conf", query(&[])).await.unwrap();
    service.end_stream(&stream.id).unwrap();
    assert!(stream.next().await.is_none());

    let mut stream = service.subscribe_stream("conf", query(&[])).await.unwrap();
    service.remove("conf");
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
    assert!(ended.unwrap().is_none());

    service.add("conf", store);
    let mut stream = service.subscribe_stream("conf", query(&[])).await.unwrap();
    service.stop();
    assert!(stream.next().await.is_none());
}
