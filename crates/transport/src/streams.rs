//! How the requests of an HTTP/2 connection are run.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;

/// Runs the requests of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Each in a task of its own.
    Spawned,
    /// Each begins in the turn of its connection and gets a task of its own if
    /// it has to wait. What needs no waiting, such as state in memory, is
    /// answered without one, and its answer is on its way while the requests
    /// behind it are worked on.
    AtOnce,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        if *self == Self::Spawned {
            return TokioExecutor::new().execute(request);
        }
        let mut request = Box::pin(request);
        // Whoever has to wait is polled again by its own task, which is then
        // the one that is woken.
        let mut cx = Context::from_waker(Waker::noop());
        // A request that panics ends as it would in a task: alone. Dropping it
        // resets its stream, and the hook has told of the panic.
        if let Ok(Poll::Pending) = catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(&mut cx))) {
            TokioExecutor::new().execute(request);
        }
    }
}
