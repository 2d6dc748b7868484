use std::sync::Arc;

use dapr_in_memory::{PubSub, StateStore};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;

#[tokio::test(flavor = "multi_thread")]
async fn state() {
    let tasks = TaskGroup::new(Shutdown::new());
    let config = dapr_conformance::state::Config { delete_with_prefix: true, ..Default::default() };
    dapr_conformance::state::run(Arc::new(StateStore::new(&tasks)), &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pubsub() {
    let tasks = TaskGroup::new(Shutdown::new());
    dapr_conformance::pubsub::run(Arc::new(PubSub::new(tasks)), &Default::default()).await;
}
