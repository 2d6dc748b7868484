//! The loop of one subscription. Each round writes down what the handlers have
//! finished and takes as many new messages as there is room for, in one
//! transaction; under load a round grows with the messages that ended during
//! the one before.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapr_components::pubsub::{HandlerError, Message, MessageHandler};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use super::ledger::{Ledger, Outcome};
use super::options::PubSubOptions;
use super::store::{Claim, Loaded, Member, Store, Visit, Visited};
use super::tidy::Tidy;
use super::{millis, now_ms};
use crate::database::{Database, Error, Write};
use crate::wake::Listener;

/// Pause after a failed round.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Subscription {
    pub(super) topic: String,
    pub(super) member: Member,
    pub(super) database: Database,
    pub(super) store: Arc<Store>,
    pub(super) options: Arc<PubSubOptions>,
    pub(super) wake: Listener,
    pub(super) tidy: Tidy,
    pub(super) handler: Arc<dyn MessageHandler>,
    pub(super) tasks: TaskGroup,
}

/// A handler's end, on its way back to the loop.
struct Settled {
    entry: u64,
    id: i64,
    outcome: Outcome,
}

struct Progress {
    ledger: Ledger,
    /// There may be messages to take.
    expecting: bool,
    /// When the next redelivery is due.
    next_due: Option<i64>,
    /// When leases are to be extended.
    renew_at: Instant,
    /// Something is to be delivered again at once, by anybody.
    released: bool,
    /// Unique for this subscription of this process.
    owner: String,
}

impl Subscription {
    /// Ends once `stop` was given and every running handler is settled.
    pub(super) async fn run(mut self, stop: Shutdown) {
        let (settled_tx, mut settled) = mpsc::channel(self.options.concurrency);
        let mut progress = Progress {
            ledger: Ledger::default(),
            expecting: true,
            next_due: None,
            renew_at: Instant::now() + self.renewal_interval(),
            released: false,
            owner: uuid::Uuid::new_v4().simple().to_string(),
        };
        loop {
            while let Ok(done) = settled.try_recv() {
                progress.settle(&done);
            }
            let stopping = stop.is_triggered();
            if stopping && progress.ledger.is_empty() {
                return;
            }
            match self.round(&mut progress, stopping).await {
                Ok(None) => self.idle(&mut progress, &mut settled, &stop).await,
                Ok(Some(claims)) => {
                    for claim in claims {
                        self.start(claim, &mut progress, &settled_tx, stop.is_triggered());
                    }
                }
                Err(e) => {
                    tracing::error!(
                        target: "dapr.contrib",
                        "Subscription to topic {} failed to read or write its database: {e}", self.topic
                    );
                    if e == Error::closed() {
                        return;
                    }
                    sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// Three tries before a lease ends.
    fn renewal_interval(&self) -> Duration {
        self.options.redeliver_interval / 3
    }

    /// `None` when there is nothing to do.
    async fn round(&mut self, progress: &mut Progress, stopping: bool) -> Result<Option<Vec<Claim>>, Error> {
        let now = Instant::now();
        let rewrites = progress.ledger.plan(now, stopping);
        let held = progress.ledger.rows();
        let renewing = now >= progress.renew_at && !held.is_empty();
        if now >= progress.renew_at && held.is_empty() {
            progress.renew_at = now + self.renewal_interval();
        }
        let room = self.options.concurrency.saturating_sub(progress.ledger.open());
        let want = if progress.expecting && !stopping { room } else { 0 };
        if rewrites.is_empty() && !renewing {
            if want == 0 {
                return Ok(None);
            }
            // Seen before looking, so that what comes later wakes again.
            self.wake.rings.borrow_and_update();
            if !self.look(progress, held.clone()).await? {
                return Ok(None);
            }
        }
        self.wake.rings.borrow_and_update();
        let visit = Visit {
            owner: progress.owner.clone(),
            rewrites,
            renew: if renewing { held.clone() } else { Vec::new() },
            held,
            want,
            now: now_ms(),
            lease_until: now_ms().saturating_add(millis(self.options.redeliver_interval)),
            max_deliveries: self.options.max_deliveries,
        };
        // Others are woken after writes that are not relaxed.
        let mode = if progress.released { Write::Atomic } else { Write::Relaxed };
        let (store, member) = (self.store.clone(), self.member);
        let (visit, visited) = self
            .database
            .write(mode, move |connection| {
                let visited = store.visit(connection, member, &visit)?;
                Ok::<_, Error>((visit, visited))
            })
            .await?;
        if renewing {
            progress.renew_at = now + self.renewal_interval();
        }
        Ok(Some(self.visited(progress, &visit, visited)))
    }

    /// Reading needs no lock: most notices are for other topics or groups.
    async fn look(&self, progress: &mut Progress, held: Vec<i64>) -> Result<bool, Error> {
        let (store, member) = (self.store.clone(), self.member);
        let (found, due) =
            self.database.read(move |connection| store.look(connection, member, &held, now_ms())).await?;
        if !found {
            progress.expecting = false;
            progress.next_due = due;
        }
        Ok(found)
    }

    fn visited(&self, progress: &mut Progress, visit: &Visit, visited: Visited) -> Vec<Claim> {
        if !visit.rewrites.is_empty() {
            progress.ledger.written(&visit.rewrites, visited.rows, Instant::now());
            progress.released = false;
            self.tidy.consumed();
        }
        if visited.dropped > 0 {
            tracing::warn!(
                target: "dapr.contrib",
                "Dropped {} messages of topic {} after maxDeliveries", visited.dropped, self.topic
            );
        }
        if visit.want > 0 {
            progress.expecting = visited.more;
            progress.next_due = visited.next_due;
        }
        visited.claims
    }

    fn start(&self, claim: Claim, progress: &mut Progress, settled: &mpsc::Sender<Settled>, stopping: bool) {
        let ids: Vec<i64> = claim.messages.iter().map(|message| message.id).collect();
        let entry = progress.ledger.add(claim.span, claim.attempts, &ids, Instant::now());
        for message in claim.messages {
            if stopping {
                let outcome = Outcome::Again { at: now_ms(), attempts: claim.attempts.saturating_sub(1) };
                progress.settle(&Settled { entry, id: message.id, outcome });
                continue;
            }
            let handling = Handling {
                id: message.id,
                entry,
                attempts: claim.attempts,
                topic: self.topic.clone(),
                handler: self.handler.clone(),
                options: self.options.clone(),
            };
            let settled = settled.clone();
            self.tasks.spawn("sqlite-pubsub-delivery", async move {
                let (entry, id) = (handling.entry, handling.id);
                let outcome = match AssertUnwindSafe(handling.run(message)).catch_unwind().await {
                    Ok(outcome) => outcome,
                    Err(_) => handling.failed("the handler panicked"),
                };
                // Fails only after the loop gave up on a closed database.
                let _ = settled.send(Settled { entry, id, outcome }).await;
            });
        }
    }

    async fn idle(
        &mut self,
        progress: &mut Progress,
        settled: &mut mpsc::Receiver<Settled>,
        stop: &Shutdown,
    ) {
        let now = Instant::now();
        let due = progress.next_due.map(|at| {
            let wait = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
            now + Duration::from_millis(wait)
        });
        let look_at = due.unwrap_or(now + self.wake.poll).min(now + self.wake.poll);
        let full = progress.ledger.open() >= self.options.concurrency;
        let renew = (!progress.ledger.is_empty()).then_some(progress.renew_at);
        let look = (!full).then_some(look_at);
        let until = [progress.ledger.due(), renew, look].into_iter().flatten().min();
        let until = until.unwrap_or(now + self.wake.poll);
        tokio::select! {
            Some(done) = settled.recv() => progress.settle(&done),
            Ok(()) = self.wake.rings.changed() => progress.expecting = true,
            () = sleep_until(until.into()) => progress.expecting |= Instant::now() >= look_at,
            () = stop.wait(), if !stop.is_triggered() => {}
        }
        if progress.ledger.is_empty() {
            // Nothing to extend: the next message starts with a fresh lease.
            progress.renew_at = Instant::now() + self.renewal_interval();
        }
    }
}

impl Progress {
    fn settle(&mut self, done: &Settled) {
        if let Outcome::Again { at, .. } = done.outcome {
            self.released |= at <= now_ms();
            self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
        }
        self.ledger.settle(done.entry, done.id, done.outcome);
    }
}

/// One message on its way through the handler.
struct Handling {
    id: i64,
    entry: u64,
    attempts: u32,
    topic: String,
    handler: Arc<dyn MessageHandler>,
    options: Arc<PubSubOptions>,
}

impl Handling {
    async fn run(&self, loaded: Loaded) -> Outcome {
        let metadata = match loaded.metadata.as_deref().map(serde_json::from_str).transpose() {
            Ok(metadata) => metadata.unwrap_or_default(),
            Err(e) => {
                tracing::error!(
                    target: "dapr.contrib",
                    "Message {} of topic {} has unreadable metadata: {e}", self.id, self.topic
                );
                Default::default()
            }
        };
        let message = Message { topic: self.topic.clone(), data: loaded.data, metadata, content_type: None };
        let handled = match self.options.processing_timeout {
            None => self.handler.handle(message).await,
            Some(limit) => timeout(limit, self.handler.handle(message)).await.unwrap_or_else(|_| {
                Err(HandlerError::Failed(format!("not handled within processingTimeout ({limit:?})")))
            }),
        };
        match handled {
            Ok(()) => Outcome::Done,
            Err(HandlerError::Cancelled) => {
                Outcome::Again { at: now_ms(), attempts: self.attempts.saturating_sub(1) }
            }
            Err(HandlerError::Failed(e)) => self.failed(&e),
        }
    }

    fn failed(&self, error: &str) -> Outcome {
        let (id, topic, attempts) = (self.id, &self.topic, self.attempts);
        if !self.options.may_redeliver(attempts) {
            tracing::warn!(
                target: "dapr.contrib",
                "Dropped message {id} of topic {topic} after {attempts} deliveries: {error}"
            );
            return Outcome::Done;
        }
        let delay = self.options.retry_delay(attempts);
        tracing::error!(
            target: "dapr.contrib",
            "Message {id} of topic {topic} was not handled, next delivery in {delay:?}: {error}"
        );
        Outcome::Again { at: now_ms().saturating_add(millis(delay)), attempts }
    }
}
