//! `component_*`: what each building block asks of its components.

use std::time::Duration;

use super::{Timed, TimedFamily, flag, fractional_ms};
use crate::metrics::family::{Buckets, Counter, Family, Histogram};
use crate::metrics::registry::Registry;

/// Values of the label `operation`. Output bindings use the requested one.
pub mod operation {
    pub const GET: &str = "get";
    pub const SET: &str = "set";
    pub const DELETE: &str = "delete";
    pub const QUERY: &str = "query";
    pub const TRANSACTION: &str = "transaction";
    pub const BULK_GET: &str = "bulk_get";
    pub const BULK_DELETE: &str = "bulk_delete";
    pub const SUBSCRIBE: &str = "subscribe";
    pub const UNSUBSCRIBE: &str = "unsubscribe";
    pub const CRYPTO: &str = "crypto_op";
    pub const JOB_TRIGGER: &str = "job_trigger_op";
}

#[derive(Debug)]
pub struct ComponentMetrics {
    pub state: Operations,
    pub configuration: Operations,
    pub secret: Operations,
    pub crypto: Operations,
    pub output_binding: Operations,
    pub pubsub: PubsubMetrics,
    input_binding: TimedFamily,
    conversation: TimedFamily,
    job_success: Family<Counter>,
    job_failure: Family<Counter>,
    job_latency: Family<Histogram>,
    namespace: String,
}

impl ComponentMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets, namespace: &str) -> Self {
        let family = Declare { registry, latency, namespace };
        let job = &["namespace", "operation"];
        Self {
            state: family.operations("state"),
            configuration: family.operations("configuration"),
            secret: family.operations("secret"),
            crypto: family.operations("crypto"),
            output_binding: family.operations("output_binding"),
            pubsub: PubsubMetrics::new(&family),
            input_binding: family.timed("input_binding", &["component", "namespace", "success"]),
            conversation: family.timed("conversation", &["component", "namespace", "success"]),
            job_success: registry.counter("component/job/success_count", "Jobs delivered.", job),
            job_failure: registry.counter("component/job/failure_count", "Jobs that failed.", job),
            job_latency: registry.histogram(
                "component/job/latencies",
                "Time the application took for a job, in milliseconds.",
                &["namespace", "operation", "success"],
                latency,
            ),
            namespace: namespace.to_owned(),
        }
    }

    /// An event of an input binding.
    pub fn input_binding(&self, component: &str, success: bool, latency: Duration) {
        self.input_binding_handle(component, success).record(latency);
    }

    /// The handle for one outcome of an input binding's events.
    pub fn input_binding_handle(&self, component: &str, success: bool) -> Timed {
        self.input_binding.with(&[component, &self.namespace, flag(success)])
    }

    pub fn conversation(&self, component: &str, success: bool, latency: Duration) {
        self.conversation_handle(component, success).record(latency);
    }

    /// The handle for one outcome of a conversation's turns.
    pub fn conversation_handle(&self, component: &str, success: bool) -> Timed {
        self.conversation.with(&[component, &self.namespace, flag(success)])
    }

    /// A job that was triggered.
    pub fn job(&self, operation: &str, success: bool, latency: Duration) {
        let count = if success { &self.job_success } else { &self.job_failure };
        count.with(&[&self.namespace, operation]).increment();
        if !latency.is_zero() {
            let values = [&*self.namespace, operation, flag(success)];
            self.job_latency.with(&values).record(fractional_ms(latency));
        }
    }
}

struct Declare<'a> {
    registry: &'a Registry,
    latency: &'a Buckets,
    namespace: &'a str,
}

impl Declare<'_> {
    fn timed(&self, area: &str, labels: &[&'static str]) -> TimedFamily {
        let count = format!("component/{area}/count");
        let latency = format!("component/{area}/latencies");
        TimedFamily::new(
            self.registry.counter(&count, "Operations.", labels),
            self.registry.histogram(&latency, "Time of an operation, in milliseconds.", labels, self.latency),
        )
    }

    fn operations(&self, area: &str) -> Operations {
        Operations {
            family: self.timed(area, &["component", "namespace", "operation", "success"]),
            namespace: self.namespace.to_owned(),
        }
    }
}

/// Operations of one building block.
#[derive(Debug)]
pub struct Operations {
    family: TimedFamily,
    namespace: String,
}

impl Operations {
    pub fn record(&self, component: &str, operation: &str, success: bool, latency: Duration) {
        self.handle(component, operation, success).record(latency);
    }

    /// The handle for one outcome of one operation, to resolve once.
    pub fn handle(&self, component: &str, operation: &str, success: bool) -> Timed {
        self.family.with(&[component, &self.namespace, operation, flag(success)])
    }
}

/// Publish and delivery. Process statuses are `success`, `retry`, `drop`.
#[derive(Debug)]
pub struct PubsubMetrics {
    ingress: TimedFamily,
    bulk_ingress: TimedFamily,
    bulk_ingress_events: Family<Counter>,
    egress: TimedFamily,
    bulk_egress: TimedFamily,
    namespace: String,
}

impl PubsubMetrics {
    fn new(family: &Declare<'_>) -> Self {
        let bulk = &["component", "namespace", "process_status", "topic"];
        let egress = &["component", "namespace", "success", "topic"];
        Self {
            ingress: family
                .timed("pubsub_ingress", &["component", "namespace", "process_status", "status", "topic"]),
            bulk_ingress: family.timed("pubsub_ingress/bulk", bulk),
            bulk_ingress_events: family.registry.counter(
                "component/pubsub_ingress/bulk/event_count",
                "Bulk deliveries, by outcome.",
                bulk,
            ),
            egress: family.timed("pubsub_egress", egress),
            bulk_egress: family.timed("pubsub_egress/bulk", egress),
            namespace: family.namespace.to_owned(),
        }
    }

    /// A delivered message. Without a `status` of its own it equals
    /// `process_status`.
    pub fn ingress(
        &self,
        component: &str,
        topic: &str,
        process_status: &str,
        status: Option<&str>,
        latency: Duration,
    ) {
        let status = status.unwrap_or(process_status);
        self.ingress.with(&[component, &self.namespace, process_status, status, topic]).record(latency);
    }

    /// A bulk delivery; it has no process status.
    pub fn bulk_ingress(&self, component: &str, topic: &str, latency: Duration) {
        self.bulk_ingress.with(&[component, &self.namespace, "", topic]).record(latency);
    }

    /// The entries of a bulk delivery that ended alike: one record, however
    /// many (runtime.md §18.3).
    pub fn bulk_ingress_entries(&self, component: &str, topic: &str, process_status: &str, entries: usize) {
        if entries > 0 {
            let values = [component, &self.namespace, process_status, topic];
            self.bulk_ingress_events.with(&values).increment();
        }
    }

    pub fn egress(&self, component: &str, topic: &str, success: bool, latency: Duration) {
        self.egress.with(&[component, &self.namespace, flag(success), topic]).record(latency);
    }

    pub fn bulk_egress(&self, component: &str, topic: &str, success: bool, latency: Duration) {
        self.bulk_egress.with(&[component, &self.namespace, flag(success), topic]).record(latency);
    }
}
