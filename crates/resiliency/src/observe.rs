//! What the engine tells the metrics (runtime.md §9.2, `resiliency_*`). The
//! recorder lives elsewhere; this crate only names the occasions.

use std::sync::Arc;

use crate::core::State;

/// The resource that the tables were last decoded from: its name and
/// namespace label every resiliency metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Timeout,
    Retry,
    CircuitBreaker,
}

impl PolicyKind {
    /// Value of the `policy` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Retry => "retry",
            Self::CircuitBreaker => "circuitbreaker",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    Inbound,
    Outbound,
}

impl Flow {
    /// Value of the `flow_direction` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Where a policy is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub source: Arc<Source>,
    pub flow: Flow,
    /// `app_<id>`, `actor_<type>` or `<Type>_<component>`.
    pub target: String,
}

/// Receives the occasions.
pub trait Observer: Send + Sync + 'static {
    /// A resource was read.
    fn loaded(&self, source: &Source);
    /// Who records what happens at one place. Asked once a place and a while.
    fn meter(&self, at: Attachment) -> Arc<dyn Meter>;
}

/// Records what policies do at one place, on request paths.
pub trait Meter: Send + Sync + 'static {
    /// A policy applies to a call; `state` is given for breakers.
    fn attached(&self, kind: PolicyKind, state: Option<State>);
    /// A timeout struck, a retry began (each once a call) or a breaker changed.
    fn activated(&self, kind: PolicyKind, state: Option<State>);
}
