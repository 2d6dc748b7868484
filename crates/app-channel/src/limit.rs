use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls at once to one target (`--app-max-concurrency`). Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct ConcurrencyLimit(Option<Arc<Semaphore>>);

impl ConcurrencyLimit {
    /// `None` for no limit.
    pub fn new(calls: Option<usize>) -> Self {
        Self(calls.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)))))
    }

    /// Waits for a slot, to be held until the answer was read; `None` without
    /// a limit.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        match &self.0 {
            None => None,
            Some(slots) => slots.clone().acquire_owned().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_largest_number_of_the_flag_is_taken() {
        assert!(ConcurrencyLimit::new(Some(usize::MAX)).slot().await.is_some());
        assert!(ConcurrencyLimit::new(None).slot().await.is_none());
    }
}
