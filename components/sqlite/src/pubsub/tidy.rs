//! Deletes messages that nobody needs any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::now_ms;
use super::store::Store;
use crate::database::{Database, Error, Write};

/// Finished messages are collected for this long.
const PAUSE: Duration = Duration::from_millis(500);
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// Messages that one transaction deletes, so that others get in between.
const CHUNK: i64 = 2000;

#[derive(Clone)]
pub(super) struct Tidy {
    shared: Arc<(AtomicBool, Notify)>,
}

impl Tidy {
    pub(super) fn start(database: Database, store: Arc<Store>, tasks: &TaskGroup) -> Self {
        let tidy = Self { shared: Arc::default() };
        let shared = tidy.shared.clone();
        tasks.spawn_until_shutdown("sqlite-pubsub-tidy", async move {
            let mut expiry = Instant::now() + EXPIRY_INTERVAL;
            loop {
                let consumed = timeout_at(expiry, shared.1.notified()).await.is_ok();
                sleep(PAUSE).await;
                shared.0.store(false, Ordering::Release);
                let result = if consumed {
                    delete_consumed(&database, &store).await
                } else {
                    expiry = Instant::now() + EXPIRY_INTERVAL;
                    delete_expired(&database, &store).await
                };
                if let Err(e) = result {
                    tracing::warn!(target: "dapr.contrib", "Failed to delete old messages: {e}");
                }
            }
        });
        tidy
    }

    /// Some messages are done.
    pub(super) fn consumed(&self) {
        if !self.shared.0.swap(true, Ordering::AcqRel) {
            self.shared.1.notify_one();
        }
    }
}

/// The spans are looked up in the transaction that deletes them: a group that
/// joins meanwhile begins behind them anyway.
async fn delete_consumed(database: &Database, store: &Arc<Store>) -> Result<(), Error> {
    loop {
        let store = store.clone();
        let more = database
            .write(Write::Relaxed, move |connection| {
                let mut budget = CHUNK;
                for (first, last) in store.consumed(connection)? {
                    let last_now = last.min(first + budget - 1);
                    store.delete(connection, first, last_now)?;
                    budget -= last_now - first + 1;
                    if budget <= 0 {
                        return Ok::<_, Error>(true);
                    }
                }
                Ok(false)
            })
            .await?;
        if !more {
            return Ok(());
        }
    }
}

async fn delete_expired(database: &Database, store: &Arc<Store>) -> Result<(), Error> {
    const MOST: usize = CHUNK as usize;
    loop {
        let store = store.clone();
        let deleted =
            database.write(Write::Relaxed, move |c| store.delete_expired(c, now_ms(), MOST)).await?;
        if deleted < MOST {
            return Ok(());
        }
    }
}
