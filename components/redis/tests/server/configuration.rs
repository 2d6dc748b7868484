//! `configuration.redis`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{ConfigurationStore, Items, Query, UpdateHandler};
use dapr_conformance::configuration::{Config, Writer};
use dapr_kernel::Shutdown;
use dapr_redis::configuration::RedisConfiguration;
use tokio::sync::mpsc;

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};

#[async_trait]
impl Writer for TestServer {
    async fn set(&self, key: &str, value: &str, version: &str) {
        self.run(&["SET", key, &format!("{value}||{version}")]).await;
    }

    async fn delete(&self, key: &str) {
        self.run(&["DEL", key]).await;
    }
}

async fn store(server: &TestServer) -> RedisConfiguration {
    let items = [("redisHost", server.address())];
    let items = items.each_ref().map(|(name, value)| (*name, value.as_str()));
    RedisConfiguration::connect(&context("configuration.redis", &items)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn does_what_every_configuration_store_does() {
    let server = TestServer::start().await;
    let store = Arc::new(store(&server).await);
    dapr_conformance::configuration::run(store, &server, &Config::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_types_and_empty_values_are_left_out() {
    let server = TestServer::start().await;
    server.run(&["HSET", "hash", "a", "1"]).await;
    server.run(&["SET", "empty", "||1"]).await;
    server.run(&["SET", "plain", "text"]).await;
    let store = store(&server).await;
    let all = store.get(&Query::default()).await.unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["plain"]);
    let keys = ["hash", "empty", "plain", "none"].map(str::to_owned).to_vec();
    assert_eq!(store.get(&Query { keys, ..Query::default() }).await.unwrap(), all);
}

struct Sender(mpsc::Sender<Items>);

#[async_trait]
impl UpdateHandler for Sender {
    async fn handle(&self, changed: Items) {
        let _ = self.0.send(changed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_a_restart_of_the_server() {
    let mut server = TestServer::start().await;
    let store = store(&server).await;
    let (sender, mut updates) = mpsc::channel(16);
    let query = Query { keys: vec!["colour".to_owned()], ..Query::default() };
    store.subscribe(query, Shutdown::new(), Arc::new(Sender(sender))).await.unwrap();
    server.kill();
    server.restart().await;
    eventually("an update comes", async || {
        server.run(&["SET", "colour", "blue||2"]).await;
        matches!(tokio::time::timeout(Duration::from_millis(200), updates.recv()).await, Ok(Some(_)))
    })
    .await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_an_error() {
    let items = [("redisHost", "127.0.0.1:1"), ("redisMaxRetries", "-1")];
    let error = RedisConfiguration::connect(&context("configuration.redis", &items)).await.err().unwrap();
    let expected = "redis store: error connecting to redis at 127.0.0.1:1: ";
    assert!(error.to_string().starts_with(expected), "{error}");
}
