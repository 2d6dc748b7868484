//! Counts and times what is asked of components (runtime.md §9.2).

use std::sync::Arc;
use std::time::Instant;

use dapr_telemetry::metrics::catalogue::{ComponentMetrics, Operations, Timed};

/// The recorders of one operation of one component, resolved when the
/// component is added. Without metrics it holds nothing and measures nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Arc<[Timed; 2]>>);

impl Meter {
    /// `operations` is `None` without metrics.
    pub fn new(operations: Option<&Operations>, component: &str, operation: &str) -> Self {
        let handle = |o: &Operations, success| o.handle(component, operation, success);
        Self(operations.map(|o| Arc::new([handle(o, false), handle(o, true)])))
    }

    /// Events of an input binding.
    pub fn input_binding(metrics: Option<&ComponentMetrics>, component: &str) -> Self {
        let handle = |m: &ComponentMetrics, success| m.input_binding_handle(component, success);
        Self(metrics.map(|m| Arc::new([handle(m, false), handle(m, true)])))
    }

    /// Turns of a conversation.
    pub fn conversation(metrics: Option<&ComponentMetrics>, component: &str) -> Self {
        let handle = |m: &ComponentMetrics, success| m.conversation_handle(component, success);
        Self(metrics.map(|m| Arc::new([handle(m, false), handle(m, true)])))
    }

    /// Makes a call and records how it ended.
    pub async fn watch<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = self.start();
        let outcome = call.await;
        self.end(started, outcome.is_ok());
        outcome
    }

    /// The beginning of a call that is too large a future to be handed over.
    pub fn start(&self) -> Option<Instant> {
        self.0.is_some().then(Instant::now)
    }

    /// The end of the call that began at `started`.
    pub fn end(&self, started: Option<Instant>, success: bool) {
        if let (Some(handles), Some(started)) = (&self.0, started) {
            handles[usize::from(success)].record(started.elapsed());
        }
    }
}
