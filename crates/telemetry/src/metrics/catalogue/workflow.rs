//! `runtime_workflow_*`.

use std::time::Duration;

use super::{TimedFamily, fractional_ms};
use crate::metrics::family::{Buckets, Counter, Family, Histogram, RATIO_BUCKETS};
use crate::metrics::registry::Registry;

/// Workflows and activities. Statuses are `success`, `failed`, `terminated`,
/// `recoverable`.
#[derive(Debug)]
pub struct WorkflowMetrics {
    operation: TimedFamily,
    execution_count: Family<Counter>,
    execution_latency: Family<Histogram>,
    scheduling: Family<Histogram>,
    activity_operation: TimedFamily,
    activity_execution: TimedFamily,
    attestation_generated: Family<Counter>,
    attestation_verified: Family<Counter>,
    attestation_verify_latency: Family<Histogram>,
    certificate_cache: Family<Counter>,
    payload_ratio: Family<Histogram>,
    activity_payload_ratio: Family<Histogram>,
    namespace: String,
}

impl WorkflowMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets, namespace: &str) -> Self {
        let timed = |name: &str, labels| {
            TimedFamily::new(
                registry.counter(&format!("runtime/workflow/{name}/count"), "Occurrences.", labels),
                registry.histogram(
                    &format!("runtime/workflow/{name}/latency"),
                    "Time taken, in milliseconds.",
                    labels,
                    latency,
                ),
            )
        };
        let ratios = Buckets::new(RATIO_BUCKETS);
        let activity = &["namespace", "activity_name", "status"];
        let execution = &["namespace", "workflow_name", "status"];
        let verified = &["namespace", "attestation_kind", "attestation_result"];
        Self {
            operation: timed("operation", &["namespace", "operation", "status"]),
            execution_count: registry.counter(
                "runtime/workflow/execution/count",
                "Workflows run.",
                execution,
            ),
            execution_latency: registry.histogram(
                "runtime/workflow/execution/latency",
                "Time of a workflow, in milliseconds.",
                execution,
                latency,
            ),
            scheduling: registry.histogram(
                "runtime/workflow/scheduling/latency",
                "Time from the request to the start of a workflow, in milliseconds.",
                &["namespace", "workflow_name"],
                latency,
            ),
            activity_operation: timed("activity/operation", activity),
            activity_execution: timed("activity/execution", activity),
            attestation_generated: registry.counter(
                "runtime/workflow/attestation/generated/count",
                "Attestations made.",
                &["namespace", "attestation_kind", "status"],
            ),
            attestation_verified: registry.counter(
                "runtime/workflow/attestation/verified/count",
                "Attestations checked.",
                verified,
            ),
            attestation_verify_latency: registry.histogram(
                "runtime/workflow/attestation/verify/latency",
                "Time to check an attestation, in milliseconds.",
                verified,
                latency,
            ),
            certificate_cache: registry.counter(
                "runtime/workflow/attestation/cert_cache/count",
                "Look-ups of certificate chains, by outcome.",
                &["namespace", "cert_cache_outcome"],
            ),
            payload_ratio: registry.histogram(
                "runtime/workflow/payload/size_ratio",
                "Payload of a workflow as a share of the message size limit.",
                &["namespace", "workflow_name"],
                &ratios,
            ),
            activity_payload_ratio: registry.histogram(
                "runtime/workflow/activity/payload/size_ratio",
                "Payload of an activity as a share of the message size limit.",
                &["namespace", "workflow_name", "activity_name"],
                &ratios,
            ),
            namespace: namespace.to_owned(),
        }
    }

    /// `operation` is `create_workflow`, `get_workflow`, `add_event` or
    /// `purge_workflow`.
    pub fn operation(&self, operation: &str, status: &str, latency: Duration) {
        self.operation.with(&[&self.namespace, operation, status]).record(latency);
    }

    /// A workflow that ended, or an attempt that did.
    pub fn execution(&self, workflow: &str, status: &str) {
        self.execution_count.with(&[&self.namespace, workflow, status]).increment();
    }

    /// Time from the start of a workflow to its end.
    pub fn execution_latency(&self, workflow: &str, status: &str, latency: Duration) {
        let values = [&*self.namespace, workflow, status];
        record_unless_zero(&self.execution_latency, &values, latency);
    }

    pub fn scheduled(&self, workflow: &str, waited: Duration) {
        record_unless_zero(&self.scheduling, &[&self.namespace, workflow], waited);
    }

    pub fn activity_operation(&self, activity: &str, status: &str, latency: Duration) {
        self.activity_operation.with(&[&self.namespace, activity, status]).record(latency);
    }

    pub fn activity_execution(&self, activity: &str, status: &str, latency: Duration) {
        self.activity_execution.with(&[&self.namespace, activity, status]).record(latency);
    }

    /// `kind` is `child` or `activity`.
    pub fn attestation_generated(&self, kind: &str, status: &str) {
        self.attestation_generated.with(&[&self.namespace, kind, status]).increment();
    }

    /// `result` is `ok` or `reject`.
    pub fn attestation_verified(&self, kind: &str, result: &str, latency: Duration) {
        let values = [&*self.namespace, kind, result];
        self.attestation_verified.with(&values).increment();
        record_unless_zero(&self.attestation_verify_latency, &values, latency);
    }

    pub fn certificate_cache(&self, hit: bool) {
        let outcome = if hit { "hit" } else { "miss" };
        self.certificate_cache.with(&[&self.namespace, outcome]).increment();
    }

    pub fn payload(&self, workflow: &str, ratio: f64) {
        self.payload_ratio.with(&[&self.namespace, workflow]).record(ratio);
    }

    pub fn activity_payload(&self, workflow: &str, activity: &str, ratio: f64) {
        self.activity_payload_ratio.with(&[&self.namespace, workflow, activity]).record(ratio);
    }
}

fn record_unless_zero(family: &Family<Histogram>, values: &[&str], latency: Duration) {
    if !latency.is_zero() {
        family.with(values).record(fractional_ms(latency));
    }
}
