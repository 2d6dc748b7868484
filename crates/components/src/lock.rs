//! Distributed locks (components.md §8). Resources arrive already prefixed.

use std::time::Duration;

use async_trait::async_trait;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// How the release of a lock ended; the numbers are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlockStatus {
    Success = 0,
    LockDoesNotExist = 1,
    LockBelongsToOthers = 2,
    InternalError = 3,
}

/// A lock store that is ready for use: constructors connect.
#[async_trait]
pub trait LockStore: Send + Sync + 'static {
    /// Whether `owner` got the lock, for `expiry` at most. Does not wait, and
    /// is not re-entrant: a lock that is held is refused to its owner, too.
    async fn try_lock(&self, resource: &str, owner: &str, expiry: Duration) -> Result<bool, Error>;

    async fn unlock(&self, resource: &str, owner: &str) -> Result<UnlockStatus, Error>;

    async fn close(&self) {}
}
