//! What deliveries count (runtime.md §9.2, `component_pubsub_*`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dapr_telemetry::metrics::catalogue::PubsubMetrics;
use parking_lot::Mutex;

use super::deliver::{DeliveryError, Event};
use super::service::{Loaded, PubSubService};

pub(super) const SUCCESS: &str = "success";
pub(super) const RETRY: &str = "retry";
pub(super) const DROP: &str = "drop";
/// Bulk deliveries carry this text in place of the component's name
/// (runtime.md §9.2).
const BULK_COMPONENT: &str = "pubsubName";

impl PubSubService {
    pub(super) fn metrics(&self) -> Option<&PubsubMetrics> {
        self.0.options.metrics.as_deref().map(|m| &m.components.pubsub)
    }

    /// A message that ended without, or after, its attempts at delivery.
    pub(super) fn ended(&self, loaded: &Loaded, topic: &str, process: &str, status: Option<&str>) {
        if let Some(metrics) = self.metrics() {
            metrics.ingress(&loaded.name, topic, process, status, Duration::ZERO);
        }
    }
}

/// Records one attempt at a delivery that took since `started`. The status of
/// a message that the subscriber drops depends on how it is reached.
pub(super) fn attempted(
    metrics: &PubsubMetrics,
    event: &Event,
    outcome: &Result<(), DeliveryError>,
    dropped: Option<&str>,
    started: Instant,
) {
    let (process, status) = match outcome {
        Ok(()) => (SUCCESS, None),
        Err(DeliveryError::Dropped) => (DROP, dropped),
        Err(DeliveryError::NoRoute | DeliveryError::Unserved) => (DROP, None),
        Err(DeliveryError::Retry { .. }) => (RETRY, None),
    };
    metrics.ingress(&event.pubsub, &event.topic, process, status, started.elapsed());
}

/// The ends of the entries of one batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub success: AtomicUsize,
    pub drop: AtomicUsize,
    pub retry: AtomicUsize,
    /// Of the last attempt.
    pub elapsed: Mutex<Duration>,
}

impl Tally {
    pub fn report(&self, metrics: &PubsubMetrics, topic: &str) {
        metrics.bulk_ingress(BULK_COMPONENT, topic, *self.elapsed.lock());
        for (status, count) in [("SUCCESS", &self.success), ("DROP", &self.drop), ("RETRY", &self.retry)] {
            metrics.bulk_ingress_entries(BULK_COMPONENT, topic, status, count.load(Ordering::Relaxed));
        }
    }
}

/// Counts up by `number`.
pub(super) fn count(counter: &AtomicUsize, number: usize) {
    counter.fetch_add(number, Ordering::Relaxed);
}
