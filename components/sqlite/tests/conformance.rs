use std::sync::Arc;

use dapr_components::{InitContext, Properties};
use dapr_conformance::{pubsub, state};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_sqlite::{PubSub, StateStore};

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
