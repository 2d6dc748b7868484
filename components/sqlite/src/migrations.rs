//! Schema versions in a table that several components share
//! (components.md §1.7).

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::database::{Error, is_locked, pause};

/// How long another process may take with its own migrations.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Migrations<'a> {
    pub(crate) metadata_table: &'a str,
    /// Row that holds the number of migrations done so far.
    pub(crate) key: &'a str,
    /// In order; each is a batch of statements.
    pub(crate) steps: &'a [String],
}

impl Migrations<'_> {
    /// Brings the schema up to date in one exclusive transaction.
    pub(crate) fn perform(&self, connection: &Connection) -> Result<(), Error> {
        let failed = |e: Error| Error::new(format!("failed to perform migrations: {e}"));
        begin(connection).map_err(failed)?;
        match self.steps_in_transaction(connection) {
            Ok(()) => Ok(connection.execute_batch("COMMIT")?),
            Err(e) => {
                connection.execute_batch("ROLLBACK")?;
                Err(failed(e))
            }
        }
    }

    fn steps_in_transaction(&self, connection: &Connection) -> Result<(), Error> {
        let (table, key) = (self.metadata_table, self.key);
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (key text NOT NULL PRIMARY KEY, value text NOT NULL)"
        );
        connection.execute_batch(&create)?;
        let level: Option<String> = connection
            .query_row(&format!("SELECT value FROM {table} WHERE key = ?"), [key], |row| row.get(0))
            .optional()?;
        let level = match level {
            None => 0,
            Some(text) => text.parse::<usize>().map_err(|_| {
                Error::new(format!("invalid migration level found in metadata table: {text}"))
            })?,
        };
        for (index, step) in self.steps.iter().enumerate().skip(level) {
            tracing::info!(target: "dapr.contrib", "Performing migration {}", index + 1);
            connection
                .execute_batch(step)
                .map_err(|e| Error::new(format!("failed to perform migration {index}: {e}")))?;
            connection.execute(
                &format!("REPLACE INTO {table} (key, value) VALUES (?, ?)"),
                (key, (index + 1).to_string()),
            )?;
        }
        Ok(())
    }
}

fn begin(connection: &Connection) -> Result<(), Error> {
    let limit = Instant::now() + LOCK_LIMIT;
    loop {
        match connection.execute_batch("BEGIN EXCLUSIVE TRANSACTION") {
            Err(e) if is_locked(&e) && Instant::now() < limit => pause(),
            other => return Ok(other?),
        }
    }
}
