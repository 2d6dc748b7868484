//! `configuration.postgresql`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{ConfigurationStore, Items, Query, RequestMetadata, UpdateHandler};
use dapr_conformance::configuration::{Config, Writer};
use dapr_kernel::Shutdown;
use dapr_postgresql::configuration::PostgresConfiguration;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};

/// The table and the trigger that users of this component make.
const SCHEMA: &str = "
    CREATE TABLE settings (key VARCHAR NOT NULL, value VARCHAR NOT NULL, version VARCHAR NOT NULL, metadata JSON);
    CREATE FUNCTION announce() RETURNS trigger AS $$
    DECLARE changed settings;
    BEGIN
        IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
        PERFORM pg_notify('config', json_build_object('table', TG_TABLE_NAME, 'action', TG_OP, 'data', row_to_json(changed))::text);
        RETURN NULL;
    END $$ LANGUAGE plpgsql;
    CREATE TRIGGER announced AFTER INSERT OR UPDATE OR DELETE ON settings FOR EACH ROW EXECUTE FUNCTION announce();";

async fn connect(server: &TestServer, items: &[(&str, &str)]) -> Result<PostgresConfiguration, String> {
    let text = server.connection_string();
    let mut all = vec![("connectionString", text.as_str())];
    all.extend(items);
    PostgresConfiguration::connect(&context("configuration.postgresql", &all))
        .await
        .map_err(|e| e.to_string())
}

struct User(Client);

#[async_trait]
impl Writer for User {
    async fn set(&self, key: &str, value: &str, version: &str) {
        let update = "UPDATE settings SET value = $2, version = $3 WHERE key = $1";
        if self.0.execute(update, &[&key, &value, &version]).await.unwrap() == 0 {
            let insert = "INSERT INTO settings VALUES ($1, $2, $3, NULL)";
            self.0.execute(insert, &[&key, &value, &version]).await.unwrap();
        }
    }

    async fn delete(&self, key: &str) {
        self.0.execute("DELETE FROM settings WHERE key = $1", &[&key]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn does_what_every_configuration_store_does() {
    let server = TestServer::start().await;
    let user = User(server.client().await);
    user.0.batch_execute(SCHEMA).await.unwrap();
    let store = connect(&server, &[("table", "settings")]).await.unwrap();
    let config = Config {
        empties_deleted: false,
        subscribe_metadata: RequestMetadata::from([("pgNotifyChannel".to_owned(), "config".to_owned())]),
        ..Config::default()
    };
    dapr_conformance::configuration::run(Arc::new(store), &user, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_metadata_and_refusals() {
    let server = TestServer::start().await;
    assert_eq!(
        connect(&server, &[("table", "settings")]).await.err().unwrap(),
        "postgreSQL configuration table 'settings' does not exist"
    );
    let client = server.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    let rows =
        r#"INSERT INTO settings VALUES ('a', 'old', '9', NULL), ('a', 'new', '10', '{"x": "y", "n": 1}')"#;
    client.batch_execute(rows).await.unwrap();
    let store = connect(&server, &[("table", "settings")]).await.unwrap();
    let get = async |keys: &[&str], metadata: &[(&str, &str)]| {
        let keys = keys.iter().map(|k| (*k).to_owned()).collect();
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        store.get(&Query { keys, metadata }).await
    };
    let found = get(&["a"], &[]).await.unwrap();
    assert_eq!((found["a"].value.as_str(), found["a"].metadata["x"].as_str()), ("new", "y"));
    assert_eq!(get(&["a"], &[("same", "same")]).await.unwrap(), found);
    assert!(get(&["a"], &[("x", "y")]).await.unwrap().is_empty());
    assert_eq!(get(&[], &[("x", "y")]).await.unwrap(), found);
    assert_eq!(get(&["a'; --"], &[]).await.unwrap_err().to_string(), "invalid key : 'a'; --'");

    let (sender, _updates) = mpsc::channel(1);
    let refused = store.subscribe(Query::default(), Shutdown::new(), Arc::new(Sender(sender))).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "unable to subscribe to \"settings\". notifyChannel must be set in component metadata or request metadata"
    );
    assert_eq!(store.unknown_subscription("x"), "unable to find subscription with ID : x");
}

struct Sender(mpsc::Sender<Items>);

#[async_trait]
impl UpdateHandler for Sender {
    async fn handle(&self, changed: Items) {
        let _ = self.0.send(changed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_and_pool_survive_a_restart_of_the_server() {
    let mut server = TestServer::start().await;
    server.client().await.batch_execute(SCHEMA).await.unwrap();
    let store = connect(&server, &[("table", "settings"), ("notifyChannel", "config")]).await.unwrap();
    let (sender, mut updates) = mpsc::channel(16);
    let query = Query { keys: vec!["colour".to_owned()], ..Query::default() };
    store.subscribe(query, Shutdown::new(), Arc::new(Sender(sender))).await.unwrap();
    server.stop();
    server.restart().await;
    let user = User(server.client().await);
    eventually("an update comes", async || {
        user.set("colour", "blue", "2").await;
        matches!(tokio::time::timeout(Duration::from_millis(200), updates.recv()).await, Ok(Some(_)))
    })
    .await;
    eventually("items are read", async || store.get(&Query::default()).await.is_ok()).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_an_error() {
    let items = [("connectionString", "host=127.0.0.1 port=1 user=x sslmode=disable"), ("table", "t")];
    let error =
        PostgresConfiguration::connect(&context("configuration.postgresql", &items)).await.err().unwrap();
    let error = error.to_string();
    assert!(error.starts_with("PostgreSQL configuration store ping error: error connecting"), "{error}");
}
