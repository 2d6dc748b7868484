//! Removal of expired rows: all processes that share a file take turns
//! (components.md §1.7).

use std::time::Duration;

use dapr_components::{Properties, PropertyError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;

use crate::database::{Database, Error, Write};

/// Rows that one transaction deletes, so that other writes get in between.
const CHUNK: usize = 1000;
/// Tolerance for timers that fire a little early.
const EARLY: Duration = Duration::from_millis(100);

/// `cleanupInterval` or its alias; zero, and anything below, is off.
pub(crate) fn interval(properties: &Properties, default: Duration) -> Result<Duration, PropertyError> {
    let names = ["cleanupInterval", "cleanupIntervalInSeconds"];
    let Some(name) = names.into_iter().find(|name| properties.get(name).is_some()) else {
        return Ok(default);
    };
    if properties.get(name).is_some_and(|text| text.trim_start().starts_with('-')) {
        return Ok(Duration::ZERO);
    }
    Ok(properties.duration(name)?.unwrap_or(default))
}

#[derive(Clone)]
pub(crate) struct Cleanup {
    pub(crate) metadata_table: String,
    /// Row with the time of the last cleanup.
    pub(crate) key: &'static str,
    pub(crate) table: String,
    /// Column that names a row: `rowid`, or the key of a table without one.
    pub(crate) row: &'static str,
    /// SQL condition that holds for rows to delete.
    pub(crate) expired: String,
    pub(crate) interval: Duration,
}

impl Cleanup {
    /// Runs until `stop`; an interval of zero switches it off.
    pub(crate) fn start(self, database: Database, tasks: &TaskGroup, stop: Shutdown) {
        if self.interval.is_zero() {
            return;
        }
        tracing::info!(target: "dapr.contrib", "Schedule expired data clean up every {:?}", self.interval);
        tasks.spawn("sqlite-cleanup", async move {
            while stop.guard(tokio::time::sleep(self.interval)).await.is_some() {
                match self.run(&database).await {
                    Ok(Some(rows)) => {
                        tracing::info!(target: "dapr.contrib", "Removed {rows} expired rows");
                    }
                    Ok(None) => {}
                    Err(e) => tracing::error!(target: "dapr.contrib", "Error removing expired data: {e}"),
                }
            }
        });
    }

    /// `None` when another process has been here within the interval.
    pub(crate) async fn run(&self, database: &Database) -> Result<Option<usize>, Error> {
        let claim = format!(
            "INSERT INTO {} (key, value) VALUES ('{}', CURRENT_TIMESTAMP)
             ON CONFLICT (key) DO UPDATE SET value = CURRENT_TIMESTAMP
             WHERE (unixepoch(CURRENT_TIMESTAMP) - unixepoch(value)) * 1000 > ?",
            self.metadata_table, self.key
        );
        let limit = i64::try_from(self.interval.saturating_sub(EARLY).as_millis()).unwrap_or(i64::MAX);
        let claimed = database
            .write(Write::Single, move |c| Ok::<_, Error>(c.prepare_cached(&claim)?.execute([limit])?))
            .await?;
        if claimed == 0 {
            return Ok(None);
        }
        let delete = format!(
            "DELETE FROM {0} WHERE {2} IN (SELECT {2} FROM {0} WHERE {1} LIMIT {CHUNK})",
            self.table, self.expired, self.row
        );
        let mut total = 0;
        loop {
            let delete = delete.clone();
            let rows = database
                .write(Write::Single, move |c| Ok::<_, Error>(c.prepare_cached(&delete)?.execute([])?))
                .await?;
            total += rows;
            if rows < CHUNK {
                return Ok(Some(total));
            }
        }
    }
}
