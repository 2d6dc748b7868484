//! `resiliency_*`.

use std::sync::OnceLock;

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

/// Timeout, retry, and a breaker in each of its states.
const SLOTS: usize = 5;

/// The series of the policies at one place, looked up when they are first
/// needed and kept.
#[derive(Debug, Default)]
pub struct PolicySeries {
    counts: [OnceLock<Counter>; SLOTS],
    activations: [OnceLock<Counter>; SLOTS],
    states: OnceLock<[Gauge; BREAKER_STATES.len()]>,
}

impl ResiliencyLabels<'_> {
    fn slot(&self) -> usize {
        match (self.policy, self.state) {
            ("timeout", _) => 0,
            ("retry", _) => 1,
            (_, "closed") => 2,
            (_, "half-open") => 3,
            _ => 4,
        }
    }

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

    /// A policy applies to a call. `series` belongs to the place that all labels
    /// but policy and state name.
    pub fn attached(&self, series: &PolicySeries, labels: ResiliencyLabels<'_>) {
        series.counts[labels.slot()].get_or_init(|| self.count.with(&labels.values())).increment();
        if labels.policy == BREAKER {
            let states = series.states.get_or_init(|| {
                BREAKER_STATES
                    .map(|state| self.breaker_state.with(&ResiliencyLabels { state, ..labels }.values()))
            });
            for (gauge, state) in states.iter().zip(BREAKER_STATES) {
                gauge.set(i64::from(state == labels.state));
            }
        }
    }

    /// A policy acted.
    pub fn activated(&self, series: &PolicySeries, labels: ResiliencyLabels<'_>) {
        series.activations[labels.slot()].get_or_init(|| self.activations.with(&labels.values())).increment();
    }
}
