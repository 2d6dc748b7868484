//! Finished spans on their way to an exporter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::span::SpanData;
use crate::metrics::Counter;

/// How much is kept and how it leaves. The defaults are those of the
/// OpenTelemetry SDKs, and their `OTEL_BSP_*` variables change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Spans that wait; further ones are dropped and counted.
    pub queue: usize,
    /// Spans that leave together.
    pub batch: usize,
    /// Longest wait of a span for others to leave with.
    pub delay: Duration,
    /// Patience for one batch.
    pub timeout: Duration,
}

/// Spans that wait for an exporter unless told otherwise.
pub const SPAN_QUEUE_LIMIT: usize = 2048;
const BATCH_LIMIT: usize = 512;

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            queue: SPAN_QUEUE_LIMIT,
            batch: BATCH_LIMIT,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A bounded queue of one exporter. Adding never waits, and wakes nobody
/// until a batch is full.
#[derive(Debug)]
pub struct SpanQueue {
    limits: BatchLimits,
    waiting: Mutex<Vec<Arc<SpanData>>>,
    full: Notify,
    dropped: AtomicU64,
    counter: Option<Counter>,
}

impl SpanQueue {
    /// `dropped` counts spans that found no room, for the metrics.
    pub fn new(limits: BatchLimits, dropped: Option<Counter>) -> Self {
        Self {
            limits,
            waiting: Mutex::default(),
            full: Notify::new(),
            dropped: AtomicU64::new(0),
            counter: dropped,
        }
    }

    pub fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    pub fn push(&self, span: Arc<SpanData>) {
        let length = {
            let mut waiting = self.waiting.lock();
            if waiting.len() < self.limits.queue {
                waiting.push(span);
                waiting.len()
            } else {
                0
            }
        };
        if length == 0 {
            self.count_dropped(1);
        } else if length.is_multiple_of(self.limits.batch.max(1)) {
            self.full.notify_one();
        }
    }

    /// Counts spans that were lost, here or on their way.
    pub fn count_dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
        if let Some(counter) = &self.counter {
            counter.add(spans);
        }
    }

    /// Spans lost so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits for a full batch or for the delay to pass.
    pub async fn ready(&self) {
        if self.waiting.lock().len() < self.limits.batch {
            // Whoever waits longest is worth sending alone.
            let _ = tokio::time::timeout(self.limits.delay, self.full.notified()).await;
        }
    }

    /// The oldest spans, one batch at most; empty when none wait.
    pub fn take(&self) -> Vec<Arc<SpanData>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() <= self.limits.batch {
            return std::mem::take(&mut waiting);
        }
        let rest = waiting.split_off(self.limits.batch);
        std::mem::replace(&mut waiting, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue: usize, batch: usize) -> SpanQueue {
        SpanQueue::new(BatchLimits { queue, batch, ..BatchLimits::default() }, None)
    }

    #[tokio::test]
    async fn a_full_batch_wakes_the_exporter() {
        let queue = queue(10, 2);
        queue.push(Arc::default());
        queue.push(Arc::default());
        queue.push(Arc::default());
        queue.ready().await;
        assert_eq!((queue.take().len(), queue.take().len(), queue.take().len()), (2, 1, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let queue = queue(2, 2);
        (0..5).for_each(|_| queue.push(Arc::default()));
        assert_eq!((queue.take().len(), queue.dropped()), (2, 3));
    }
}
