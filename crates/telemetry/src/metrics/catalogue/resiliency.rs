//! `resiliency_*`.

use crate::metrics::family::{Counter, Family, Gauge};
use crate::metrics::registry::Registry;

const BREAKER: &str = "circuitbreaker";
const BREAKER_STATES: [&str; 4] = ["closed", "half-open", "open", "unknown"];

/// What resiliency policies did. `state` is a breaker's (`closed`,
/// `half-open`, `open`) and empty for other policies.
#[derive(Debug)]
pub struct ResiliencyMetrics {
    loaded: Family<Counter>,
    count: Family<Counter>,
    activations: Family<Counter>,
    breaker_state: Family<Gauge>,
}

/// The labels of one policy at one place.
#[derive(Clone, Copy, Debug)]
pub struct ResiliencyLabels<'a> {
    /// Name and namespace of the resource read last.
    pub name: &'a str,
    pub namespace: &'a str,
    /// `timeout`, `retry` or `circuitbreaker`.
    pub policy: &'a str,
    /// `outbound` or `inbound`.
    pub flow_direction: &'a str,
    pub target: &'a str,
    pub state: &'a str,
}

impl ResiliencyLabels<'_> {
    fn values(&self) -> [&str; 6] {
        [self.name, self.policy, self.namespace, self.flow_direction, self.target, self.state]
    }
}

impl ResiliencyMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let labels = &["name", "policy", "namespace", "flow_direction", "target", "status"];
        Self {
            loaded: registry.counter("resiliency/loaded", "Resources read.", &["name", "namespace"]),
            count: registry.counter("resiliency/count", "Calls that a policy applied to.", labels),
            activations: registry.counter(
                "resiliency/activations_total",
                "Calls in which a policy acted, and breakers that changed.",
                labels,
            ),
            breaker_state: registry.gauge(
                "resiliency/cb_state",
                "State of a breaker: 1 for the one it is in.",
                labels,
            ),
        }
    }

    /// A resource was read.
    pub fn loaded(&self, name: &str, namespace: &str) {
        self.loaded.with(&[name, namespace]).increment();
    }

    /// A policy applies to a call.
    pub fn attached(&self, labels: ResiliencyLabels<'_>) {
        self.count.with(&labels.values()).increment();
        if labels.policy == BREAKER {
            for state in BREAKER_STATES {
                let at = ResiliencyLabels { state, ..labels };
                self.breaker_state.with(&at.values()).set(i64::from(state == labels.state));
            }
        }
    }

    /// A policy acted.
    pub fn activated(&self, labels: ResiliencyLabels<'_>) {
        self.activations.with(&labels.values()).increment();
    }
}
