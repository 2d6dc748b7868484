//! What tests of a component need around it.

use std::time::{Duration, Instant};

use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Context of a component `test` whose metadata is `items`.
pub fn context(component_type: &str, items: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: component_type.into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).expect("a test's own metadata"),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Waits until `done`, which is asked every few milliseconds.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
