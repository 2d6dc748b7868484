//! Supervised tasks: named, panic-safe and waited for at shutdown.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::Shutdown;
use crate::workers::{Place, Workers, hold};

/// Owns the tasks of one service. Cloning shares the group.
///
/// A panicking task is logged with its name and ends alone; the group's
/// [`Shutdown`] is what tells the others to stop.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    tracker: TaskTracker,
    shutdown: Shutdown,
    /// What others need while they drain, and the signal for its end.
    supports: TaskTracker,
    end: Shutdown,
    /// Where connections are spread to; `None` keeps all on the caller's runtime.
    workers: Option<Workers>,
}

impl TaskGroup {
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tracker: TaskTracker::new(),
            shutdown,
            supports: TaskTracker::new(),
            end: Shutdown::new(),
            workers: None,
        }
    }

    /// Spreads connections over `workers`.
    #[must_use]
    pub fn with_workers(mut self, workers: Workers) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Where the next connection is to be served; `None` for here.
    pub fn place(&self) -> Option<Place> {
        self.workers.as_ref().map(Workers::least_loaded)
    }

    /// The signal that this group's tasks follow.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `task` until it returns. It is expected to watch
    /// [`TaskGroup::shutdown`] itself so that it can drain.
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.supervised(name, Box::pin(task)))
    }

    /// Like [`TaskGroup::spawn`], on the worker of `place`; what the task spawns
    /// runs there, too.
    pub fn spawn_placed<F>(&self, name: &'static str, place: Option<Place>, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(place) = place else {
            self.spawn(name, task);
            return;
        };
        let worker = place.handle().clone();
        worker.spawn(self.supervised(name, Box::pin(hold(place, task))));
    }

    /// The task is boxed so that what surrounds it is compiled once for each
    /// result and not for each task: there are hundreds.
    fn supervised<T: Send + 'static>(
        &self,
        name: &'static str,
        task: BoxFuture<'static, T>,
    ) -> impl Future<Output = Option<T>> + Send + use<T> {
        let work = AssertUnwindSafe(task).catch_unwind();
        self.tracker.track_future(async move {
            match work.await {
                Ok(out) => Some(out),
                Err(panic) => {
                    tracing::error!(target: "dapr.runtime", "Task {name} panicked: {}", panic_text(&panic));
                    None
                }
            }
        })
    }

    /// Like [`TaskGroup::spawn`], but the task is dropped when the group shuts
    /// down: for work that holds nothing which must be settled.
    pub fn spawn_until_shutdown<F>(&self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.spawn(name, async move {
            shutdown.guard(task).await;
        });
    }

    /// Runs `task` until every task of the other kinds has ended after the
    /// shutdown: for what they need while they drain, such as connections that
    /// wait for answers.
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
    pub fn spawn_until_drained<F>(&self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let end = self.end.clone();
        let work = AssertUnwindSafe(async move { end.guard(task).await.map(drop) }).catch_unwind();
        tokio::spawn(self.supports.track_future(async move {
            if let Err(panic) = work.await {
                tracing::error!(target: "dapr.runtime", "Task {name} panicked: {}", panic_text(&panic));
            }
        }));
    }

    /// Number of tasks that have not ended yet.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Gives the signal and waits for every task, at most `limit`. Returns
    /// false when tasks were still running by then; what they need still runs, too.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.shutdown.trigger();
        self.tracker.close();
        self.supports.close();
        let ended = tokio::time::timeout(limit, self.tracker.wait()).await.is_ok();
        if ended {
            self.end.trigger();
            self.supports.wait().await;
        }
        ended
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        let group = TaskGroup::new(Shutdown::new());
        let bad = group.spawn("bad", async { panic!("boom") });
        let good = group.spawn("good", async { 7 });
        assert_eq!(bad.await.unwrap(), None::<()>);
        assert_eq!(good.await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn stop_waits_for_tasks_that_drain() {
        let group = TaskGroup::new(Shutdown::new());
        let shutdown = group.shutdown().clone();
        group.spawn("drain", async move { shutdown.wait().await });
        assert!(group.stop(Duration::from_secs(5)).await);
        assert!(group.is_empty());
    }

    #[tokio::test]
    async fn what_others_need_ends_after_them() {
        let group = TaskGroup::new(Shutdown::new());
        let (ask, asked) = tokio::sync::oneshot::channel::<tokio::sync::oneshot::Sender<u8>>();
        group.spawn_until_drained("support", async move {
            asked.await.unwrap().send(7).unwrap();
            std::future::pending::<()>().await;
        });
        let shutdown = group.shutdown().clone();
        let drained = group.spawn("drain", async move {
            shutdown.wait().await;
            let (answer, answered) = tokio::sync::oneshot::channel();
            ask.send(answer).unwrap();
            answered.await.unwrap()
        });
        assert!(group.stop(Duration::from_secs(5)).await);
        assert_eq!(drained.await.unwrap(), Some(7));
    }
}
