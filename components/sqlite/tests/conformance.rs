use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dapr_components::{InitContext, Properties};
use dapr_conformance::{configuration, lock, pubsub, state};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_sqlite::{Configuration, Lock, PubSub, StateStore};
use rusqlite::Connection;

fn context(items: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "sqlite".into(),
        component_type: "sqlite".into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).unwrap(),
        identity: AppIdentity::new("conformance", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

async fn run_state(connection: &str, disable_wal: &str) {
    let context = context(&[("connectionString", connection), ("disableWAL", disable_wal)]);
    let store = StateStore::open(context).await.unwrap();
    state::run(Arc::new(store), &state::Config::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_on_a_file() {
    let dir = tempfile::tempdir().unwrap();
    run_state(dir.path().join("state.db").to_str().unwrap(), "false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_without_wal() {
    let dir = tempfile::tempdir().unwrap();
    run_state(dir.path().join("state.db").to_str().unwrap(), "true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_in_memory() {
    run_state(":memory:", "false").await;
}

async fn run_pubsub(connection: &str, concurrency: &str, in_order: bool) {
    let context = context(&[
        ("connectionString", connection),
        ("consumerID", "conformance"),
        ("concurrency", concurrency),
        ("retryDelay", "100ms"),
    ]);
    let bus = PubSub::open(context).await.unwrap();
    let config = pubsub::Config { bulk_publish: true, redelivers: true, in_order, ..Default::default() };
    pubsub::run(Arc::new(bus), &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pubsub_one_at_a_time_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    run_pubsub(dir.path().join("bus.db").to_str().unwrap(), "1", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pubsub_with_the_default_concurrency() {
    let dir = tempfile::tempdir().unwrap();
    run_pubsub(dir.path().join("bus.db").to_str().unwrap(), "100", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pubsub_in_memory() {
    run_pubsub("file:conformance-bus?mode=memory", "1", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_on_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locks.db");
    let store = Lock::open(context(&[("connectionString", path.to_str().unwrap())])).await.unwrap();
    lock::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_in_memory() {
    let store = Lock::open(context(&[("connectionString", ":memory:")])).await.unwrap();
    lock::run(Arc::new(store)).await;
}

/// Another program with the file open: each write on a connection of its own.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn run(&self, sql: &str, parameters: &[&str]) {
        let connection = Connection::open(&self.0).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection.execute(sql, rusqlite::params_from_iter(parameters)).unwrap();
    }
}

#[async_trait]
impl configuration::Writer for Elsewhere {
    async fn set(&self, key: &str, value: &str, version: &str) {
        self.run(
            "INSERT OR REPLACE INTO configuration (key, value, version) VALUES (?, ?, ?)",
            &[key, value, version],
        );
    }

    async fn delete(&self, key: &str) {
        self.run("DELETE FROM configuration WHERE key = ?", &[key]);
    }
}

async fn run_configuration(disable_wal: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("configuration.db");
    let items = [("connectionString", path.to_str().unwrap()), ("disableWAL", disable_wal)];
    let store = Configuration::open(context(&items)).await.unwrap();
    // Shorter than the looks by the clock: the file's notices do the work.
    let config =
        configuration::Config { update_limit: std::time::Duration::from_secs(4), ..Default::default() };
    configuration::run(Arc::new(store), &Elsewhere(path.clone()), &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_on_a_file() {
    run_configuration("false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_without_wal() {
    run_configuration("true").await;
}
