use std::future::Future;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A signal that reaches every holder exactly once and never goes back.
///
/// Children end with their parent; ending a child leaves the parent alone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn trigger(&self) {
        self.0.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once the signal was given; immediately if it was before.
    pub fn wait(&self) -> WaitForCancellationFutureOwned {
        self.0.clone().cancelled_owned()
    }

    /// Runs `work` until it is done or the signal comes: `None` then, and
    /// `work` is dropped.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => None,
            out = work => Some(out),
        }
    }
}
