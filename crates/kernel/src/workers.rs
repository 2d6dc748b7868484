//! The threads that serve connections.
//!
//! One single-threaded runtime a CPU instead of one runtime that moves tasks
//! between threads: a connection, the requests on it and the connections they
//! use to go on stay on the thread that accepted it, so that a request costs
//! no wake-up of another thread. At the rates of most sidecars those wake-ups,
//! not parsing, are what a request costs.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{self, Handle};

use crate::Shutdown;

/// Which worker something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(runtime::Id);

impl WorkerId {
    /// The worker that runs the caller.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn current() -> Self {
        Self(Handle::current().id())
    }
}

/// The runtime that created it, and threads with one runtime each. Cloning
/// shares them; they end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workers: Vec<Worker>,
    stop: Shutdown,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Connections that it serves.
    load: AtomicUsize,
}

impl Worker {
    fn new(handle: Handle) -> Self {
        Self { handle, load: AtomicUsize::new(0) }
    }
}

impl Workers {
    /// The calling runtime and `threads - 1` more.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(threads: usize) -> io::Result<Self> {
        let stop = Shutdown::new();
        let mut workers = vec![Worker::new(Handle::current())];
        for number in 1..threads {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            workers.push(Worker::new(runtime.handle().clone()));
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(stop.wait()))?;
        }
        Ok(Self(Arc::new(Inner { workers, stop })))
    }

    /// The worker with the fewest connections, which has one more until the
    /// result is dropped.
    pub fn least_loaded(&self) -> Place {
        let load = |index: &usize| self.0.workers[*index].load.load(Ordering::Relaxed);
        let index = (0..self.0.workers.len()).min_by_key(load).unwrap_or(0);
        self.0.workers[index].load.fetch_add(1, Ordering::Relaxed);
        Place { workers: self.clone(), index }
    }
}

/// A connection's place on a worker.
#[derive(Debug)]
pub struct Place {
    workers: Workers,
    index: usize,
}

impl Place {
    fn worker(&self) -> &Worker {
        &self.workers.0.workers[self.index]
    }

    /// Whether it is the caller's own worker.
    pub fn is_here(&self) -> bool {
        self.worker().handle.id() == Handle::current().id()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.worker().handle
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker().load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps the place for as long as the task lives.
pub(crate) async fn hold<F: Future>(place: Place, task: F) -> F::Output {
    let output = task.await;
    drop(place);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::TaskGroup;

    #[tokio::test]
    async fn connections_spread_and_their_tasks_stay_together() {
        let workers = Workers::start(2).unwrap();
        let tasks = TaskGroup::new(Shutdown::new()).with_workers(workers);
        let here = WorkerId::current();
        let (release, released) = tokio::sync::watch::channel(false);
        let mut homes = Vec::new();
        for _ in 0..4 {
            let (told, home) = tokio::sync::oneshot::channel();
            let mut released = released.clone();
            let group = tasks.clone();
            tasks.spawn_placed("connection", tasks.place(), async move {
                let inner = group.spawn("request", async { WorkerId::current() }).await.unwrap();
                told.send((WorkerId::current(), inner)).unwrap();
                let _ = released.wait_for(|r| *r).await;
            });
            homes.push(home.await.unwrap());
        }
        assert!(homes.iter().all(|(outer, inner)| Some(*outer) == *inner));
        assert_eq!(homes.iter().filter(|(home, _)| *home == here).count(), 2);
        release.send(true).unwrap();
        assert!(tasks.stop(std::time::Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_task_ends() {
        let workers = Workers::start(2).unwrap();
        let first = workers.least_loaded();
        let second = workers.least_loaded();
        assert_ne!(first.is_here(), second.is_here());
        let was_here = first.is_here();
        drop(first);
        assert_eq!(workers.least_loaded().is_here(), was_here);
    }
}
