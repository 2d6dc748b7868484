//! Components whose server comes late: `dapr.io/init-retry: background`
//! (docs/late-backends.md).

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use dapr_resources::{Component, Resource};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{ProcessError, Processor, Refusal, SCOPE};

/// A server that comes up is in use within two seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Background starts: when each is tried again, and those on their way.
pub struct Retries<'p> {
    processor: &'p Processor,
    due: HashMap<String, Due>,
    running: Vec<(Component, BoxFuture<'p, Result<Component, Refusal>>)>,
}

struct Due {
    at: Instant,
    pause: Duration,
    attempts: u32,
}

impl Due {
    fn first() -> Self {
        Self { at: Instant::now() + FIRST_PAUSE, pause: FIRST_PAUSE, attempts: 1 }
    }

    fn next(&mut self) {
        self.pause = self.pause.mul_f64(1.5).min(MAX_PAUSE);
        self.at = Instant::now() + self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.attempts += 1;
    }
}

/// An attempt that has ended.
pub struct Attempt(Component, Result<Component, Refusal>);

impl<'p> Retries<'p> {
    pub fn new(processor: &'p Processor) -> Self {
        Self { processor, due: HashMap::new(), running: Vec::new() }
    }

    /// Resolves with the next attempt that has ended, for [`Self::settle`];
    /// never while nothing is put off. Cancelling loses nothing.
    pub async fn next(&mut self) -> Attempt {
        loop {
            let soonest = self.begin_due();
            let ended = poll_fn(|context| {
                for at in 0..self.running.len() {
                    if let Poll::Ready(outcome) = self.running[at].1.poll_unpin(context) {
                        let (component, _) = self.running.swap_remove(at);
                        return Poll::Ready(Attempt(component, outcome));
                    }
                }
                Poll::Pending
            });
            let due = async {
                match soonest {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                attempt = ended => return attempt,
                () = due => {}
            }
        }
    }

    /// Forgets what is not put off any more, begins what is due and says when
    /// the next will be.
    fn begin_due(&mut self) -> Option<Instant> {
        let put_off = self.processor.inventory.retrying();
        self.running.retain(|(running, _)| put_off.contains(running));
        self.due.retain(|name, _| put_off.iter().any(|c| c.name == *name));
        let mut soonest: Option<Instant> = None;
        for component in put_off {
            if self.running.iter().any(|(c, _)| c.name == component.name) {
                continue;
            }
            let at = self.due.entry(component.name.clone()).or_insert_with(Due::first).at;
            if at <= Instant::now() {
                let attempt = self.processor.start(component.clone()).boxed();
                self.running.push((component, attempt));
            } else {
                soonest = Some(soonest.map_or(at, |s| s.min(at)));
            }
        }
        soonest
    }

    /// Notes how an attempt ended; `Err` when a component that waited for this
    /// one fails and that is fatal.
    pub async fn settle(&mut self, attempt: Attempt) -> Result<(), ProcessError> {
        let Attempt(component, outcome) = attempt;
        let (name, log_name) = (component.name.clone(), component.log_name());
        let due = self.due.entry(name.clone()).or_insert_with(Due::first);
        due.next();
        let attempts = due.attempts;
        let processor = self.processor;
        match outcome {
            Ok(resolved) => {
                self.due.remove(&name);
                processor.inventory.remove(&name);
                tracing::info!(target: SCOPE, "Component {log_name} is available after {attempts} attempts");
                processor.running(component, resolved).await;
                for dependant in processor.inventory.unpark(&name) {
                    processor.load(dependant).await?;
                }
            }
            Err(refusal) => {
                tracing::debug!(target: SCOPE, "Component {log_name} is still not available: {}", refusal.reason);
                processor.metadata.retried(&name, refusal.reason, attempts);
            }
        }
        Ok(())
    }
}
