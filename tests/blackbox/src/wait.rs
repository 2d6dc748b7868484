use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// How long anything may take to come up on a busy machine.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

/// Repeats `attempt` until it answers `Ok`; panics with the last error when it
/// did not within `limit`.
pub async fn eventually<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) if Instant::now() >= end => panic!("{what}: not within {limit:?}: {error}"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
