//! `lock.sqlite`: locks for all processes of one machine, in one file. See
//! `docs/components/lock.sqlite.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use dapr_components::lock::{Error, LockStore, UnlockStatus};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use rusqlite::{Connection, OptionalExtension};

use crate::cleanup::{self, Cleanup};
use crate::connection::{Defaults, Options, identifier};
use crate::database::{self, Database, Write};
use crate::migrations::Migrations;

/// How often rows of locks that ran out are deleted, unless told otherwise.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(3600);

/// Locks in a table: one row for each that is held, or ran out.
pub struct Lock {
    database: Database,
    table: String,
    closing: Shutdown,
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Milliseconds since 1970: how the file stores times.
fn now_ms() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Lock {
    /// Opens or creates the database.
    pub async fn open(context: InitContext) -> Result<Self, InitError> {
        let properties = &context.properties;
        let name = |property: &str, default: &'static str| {
            let value = properties.get(property).unwrap_or(default);
            let checked = identifier(value).map(str::to_owned);
            checked.ok_or_else(|| InitError::new(format!("invalid identifier: {value}")))
        };
        let (table, metadata_table) = (name("tableName", "locks")?, name("metadataTableName", "metadata")?);
        let interval = cleanup::interval(properties, CLEANUP_INTERVAL)?;
        let options = Options::new(properties, Defaults::default())?;
        let key = format!("{table}-migrations");
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                resource TEXT NOT NULL PRIMARY KEY,
                owner TEXT NOT NULL,
                expires_at INTEGER NOT NULL
            ) WITHOUT ROWID"
        );
        let of_migrations = metadata_table.clone();
        let database = Database::open(options, move |connection| {
            Migrations { metadata_table: &of_migrations, key: &key, steps: &[create] }.perform(connection)
        })
        .await?;
        let closing = context.tasks.shutdown().child();
        Cleanup {
            metadata_table,
            key: "locks-last-cleanup",
            table: table.clone(),
            row: "resource",
            expired: "expires_at <= unixepoch('now', 'subsec') * 1000".to_owned(),
            interval,
        }
        .start(database.clone(), &context.tasks, closing.clone());
        Ok(Self { database, table, closing })
    }
}

#[async_trait]
impl LockStore for Lock {
    async fn try_lock(&self, resource: &str, owner: &str, expiry: Duration) -> Result<bool, Error> {
        let sql = format!(
            "INSERT INTO {0} (resource, owner, expires_at) VALUES (?1, ?2, ?4)
             ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
             WHERE {0}.expires_at <= ?3",
            self.table
        );
        let (resource, owner) = (resource.to_owned(), owner.to_owned());
        let locked = self
            .database
            .write(Write::Single, move |connection| {
                // Now is when it is this write's turn, not when it was queued.
                let now = now_ms();
                let until = now.saturating_add(millis(expiry));
                let mut statement = connection.prepare_cached(&sql)?;
                Ok::<_, database::Error>(statement.execute((resource, owner, now, until))? == 1)
            })
            .await;
        Ok(locked?)
    }

    async fn unlock(&self, resource: &str, owner: &str) -> Result<UnlockStatus, Error> {
        let (table, resource, owner) = (self.table.clone(), resource.to_owned(), owner.to_owned());
        let released = self
            .database
            .write(Write::Atomic, move |connection| release(connection, &table, &resource, &owner))
            .await;
        Ok(released?)
    }

    async fn close(&self) {
        self.closing.trigger();
        self.database.close().await;
    }
}

fn release(
    connection: &Connection,
    table: &str,
    resource: &str,
    owner: &str,
) -> Result<UnlockStatus, database::Error> {
    let held: Option<String> = connection
        .prepare_cached(&format!("SELECT owner FROM {table} WHERE resource = ? AND expires_at > ?"))?
        .query_row((resource, now_ms()), |row| row.get(0))
        .optional()?;
    match held {
        None => Ok(UnlockStatus::LockDoesNotExist),
        Some(other) if other != owner => Ok(UnlockStatus::LockBelongsToOthers),
        Some(_) => {
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE resource = ?"))?
                .execute([resource])?;
            Ok(UnlockStatus::Success)
        }
    }
}
