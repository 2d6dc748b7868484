//! Moves spans from a queue to a collector.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapr_kernel::Shutdown;
use dapr_telemetry::trace::{SpanData, SpanQueue};

use crate::collector::SendError;

pub const SCOPE: &str = "dapr.runtime.trace";
/// Failures are named in the log at most this often.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// One kind of destination.
pub trait Export: Send + Sync + 'static {
    /// As the log names it.
    fn name(&self) -> &'static str;
    /// Sends one batch, which is not empty.
    fn export(&self, spans: &[Arc<SpanData>]) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// Runs until `stop`, and then until the queue is empty or the collector
/// fails.
pub async fn run(exporter: impl Export, queue: Arc<SpanQueue>, stop: Shutdown) {
    let mut complaints = Complaints::default();
    loop {
        stop.guard(queue.ready()).await;
        let batch = queue.take();
        if batch.is_empty() {
            if stop.is_triggered() {
                return;
            }
            continue;
        }
        if let Err(error) = send(&exporter, &queue, &batch, &stop).await {
            queue.count_dropped(batch.len() as u64);
            complaints.add(exporter.name(), &error);
            if stop.is_triggered() {
                // The rest would only meet the same fate, at the cost of the stop.
                queue.count_dropped(
                    std::iter::from_fn(|| Some(queue.take().len())).take_while(|n| *n > 0).sum::<usize>()
                        as u64,
                );
                return;
            }
        }
    }
}

/// Tries again, with growing pauses, what may succeed later.
async fn send(
    exporter: &impl Export,
    queue: &SpanQueue,
    batch: &[Arc<SpanData>],
    stop: &Shutdown,
) -> Result<(), SendError> {
    const FIRST_PAUSE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + queue.limits().timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = match tokio::time::timeout(left, exporter.export(batch)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::lasting("context deadline exceeded")),
        };
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.passing || stop.is_triggered() || Instant::now() + pause >= deadline {
            return Err(error);
        }
        stop.guard(tokio::time::sleep(pause)).await;
        pause *= 2;
    }
}

/// Says what fails, once in a while.
#[derive(Default)]
pub struct Complaints {
    last: Option<Instant>,
    silent: u64,
}

impl Complaints {
    pub fn add(&mut self, exporter: &str, error: &SendError) {
        if self.last.is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE) {
            self.silent += 1;
            return;
        }
        let silent = std::mem::take(&mut self.silent);
        let since = if silent > 0 {
            format!(" ({silent} more failures since the last message)")
        } else {
            String::new()
        };
        tracing::warn!(
            target: SCOPE,
            "Telemetry could not be sent to {exporter}; requests are not affected: {error}{since}"
        );
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use dapr_telemetry::trace::BatchLimits;
    use parking_lot::Mutex;

    use super::*;

    struct Fake {
        sizes: Arc<Mutex<Vec<usize>>>,
        fails: bool,
    }

    impl Export for Fake {
        fn name(&self) -> &'static str {
            "a fake"
        }

        async fn export(&self, spans: &[Arc<SpanData>]) -> Result<(), SendError> {
            self.sizes.lock().push(spans.len());
            if self.fails { Err(SendError::lasting("no")) } else { Ok(()) }
        }
    }

    fn queue() -> Arc<SpanQueue> {
        let limits = BatchLimits { queue: 10, batch: 2, ..BatchLimits::default() };
        let queue = Arc::new(SpanQueue::new(limits, None));
        (0..5).for_each(|_| queue.push(Arc::default()));
        queue
    }

    #[tokio::test]
    async fn a_stop_sends_everything_that_waits() {
        let (stop, queue, sizes) = (Shutdown::new(), queue(), Arc::default());
        stop.trigger();
        run(Fake { sizes: Arc::clone(&sizes), fails: false }, queue.clone(), stop).await;
        assert_eq!((sizes.lock().clone(), queue.dropped()), (vec![2, 2, 1], 0));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_collector_that_fails() {
        let (stop, queue, sizes) = (Shutdown::new(), queue(), Arc::default());
        stop.trigger();
        run(Fake { sizes: Arc::clone(&sizes), fails: true }, queue.clone(), stop).await;
        assert_eq!((sizes.lock().clone(), queue.dropped()), (vec![2], 5));
    }
}
