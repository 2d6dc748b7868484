//! `configuration.sqlite`: items in a table that anybody may write to, with
//! whatever writes SQLite. See `docs/components/configuration.sqlite.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{
    ConfigurationStore, Error, Item, Items, Query, RequestMetadata, UpdateHandler,
};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::connection::{Defaults, Options, identifier};
use crate::database::{self, Database};
use crate::migrations::Migrations;
use crate::wake::{Listener, Wake};

/// Changes that are remembered: a subscriber that is further behind is told
/// of every item.
const REMEMBERED: u32 = 10_000;

/// Looks after a notice, by the time since the one before. The files change
/// before readers may see what was committed.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(200)];

/// Configuration in a table. Triggers in the database note which keys change,
/// so that no writer has to.
pub struct Configuration {
    database: Database,
    table: Arc<str>,
    wake: Wake,
    tasks: TaskGroup,
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl Configuration {
    /// Opens or creates the database.
    pub async fn open(context: InitContext) -> Result<Self, InitError> {
        let properties = &context.properties;
        let name = |property: &str, default: &'static str| {
            let value = properties.get(property).unwrap_or(default);
            let checked = identifier(value).map(str::to_owned);
            checked.ok_or_else(|| InitError::new(format!("invalid identifier: {value}")))
        };
        let (table, metadata_table) =
            (name("tableName", "configuration")?, name("metadataTableName", "metadata")?);
        let options = Options::new(properties, Defaults::default())?;
        let shared = !options.in_memory();
        let key = format!("{table}-migrations");
        let steps = [create_tables(&table)];
        let wake = Wake::new();
        let attached = wake.clone();
        let database = Database::open(options, move |connection| {
            Migrations { metadata_table: &metadata_table, key: &key, steps: &steps }.perform(connection)?;
            if let Some(path) = connection.path().filter(|path| shared && !path.is_empty()) {
                attached.attach_database(path.into());
            }
            Ok(())
        })
        .await?;
        let tasks = TaskGroup::new(context.tasks.shutdown().child());
        Ok(Self { database, table: table.into(), wake, tasks })
    }
}

fn create_tables(table: &str) -> String {
    let note = |key: &str| format!("INSERT INTO {table}_changes (key) VALUES ({key});");
    let (new, old) = (note("NEW.key"), note("OLD.key"));
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (
            key TEXT NOT NULL PRIMARY KEY,
            value TEXT NOT NULL,
            version TEXT NOT NULL DEFAULT '',
            metadata TEXT
        );
        CREATE TABLE {table}_changes (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL);
        CREATE TRIGGER {table}_inserted AFTER INSERT ON {table} BEGIN {new} END;
        CREATE TRIGGER {table}_updated AFTER UPDATE ON {table} WHEN OLD.key = NEW.key BEGIN {new} END;
        CREATE TRIGGER {table}_renamed AFTER UPDATE ON {table} WHEN OLD.key <> NEW.key BEGIN {old} {new} END;
        CREATE TRIGGER {table}_deleted AFTER DELETE ON {table} BEGIN {old} END;
        CREATE TRIGGER {table}_forgotten AFTER INSERT ON {table}_changes BEGIN
            DELETE FROM {table}_changes WHERE number <= NEW.number - {REMEMBERED};
        END;"
    )
}

#[async_trait]
impl ConfigurationStore for Configuration {
    async fn get(&self, query: &Query) -> Result<Items, Error> {
        let (table, keys) = (self.table.clone(), query.keys.clone());
        Ok(self.database.read(move |connection| read_items(connection, &table, &keys)).await?)
    }

    async fn subscribe(
        &self,
        query: Query,
        stop: Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), Error> {
        self.wake.watch();
        // Before the number is read: nothing is missed in between.
        let listener = self.wake.subscribe();
        let table = self.table.clone();
        let seen = self.database.read(move |connection| last_change(connection, &table)).await?;
        let subscription = Subscription {
            database: self.database.clone(),
            table: self.table.clone(),
            keys: query.keys,
            seen,
            listener,
            handler,
        };
        let closing = self.tasks.shutdown().clone();
        self.tasks.spawn("sqlite-configuration-subscription", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = closing.wait() => {}
                () = subscription.run() => {}
            }
        });
        Ok(())
    }

    async fn close(&self) {
        self.tasks.shutdown().trigger();
        self.database.close().await;
    }
}

struct Subscription {
    database: Database,
    table: Arc<str>,
    /// Empty for all.
    keys: Vec<String>,
    /// Number of the last change that the handler knows.
    seen: i64,
    listener: Listener,
    handler: Arc<dyn UpdateHandler>,
}

impl Subscription {
    async fn run(mut self) {
        loop {
            // An end of the notices leaves the looks by the clock.
            let _ = tokio::time::timeout(self.listener.poll, self.listener.rings.changed()).await;
            for pause in LOOKS {
                tokio::time::sleep(pause).await;
                self.listener.rings.mark_unchanged();
                if let Err(error) = self.look().await {
                    tracing::error!(target: "dapr.contrib", "Failed to read configuration changes: {error}");
                    break;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let (table, keys, seen) = (self.table.clone(), self.keys.clone(), self.seen);
        let read = self.database.read(move |connection| changes(connection, &table, &keys, seen)).await;
        let (last, changed) = read?;
        self.seen = last;
        if !changed.is_empty() {
            self.handler.handle(changed).await;
        }
        Ok(())
    }
}

fn last_change(connection: &Connection, table: &str) -> Result<i64, database::Error> {
    let sql = format!("SELECT coalesce(max(number), 0) FROM {table}_changes");
    Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
}

/// What changed after `seen`: the last change's number, and the items as they
/// are now. A deleted item is empty.
fn changes(
    connection: &Connection,
    table: &str,
    keys: &[String],
    seen: i64,
) -> Result<(i64, Items), database::Error> {
    // One transaction, or a change between the statements would be lost.
    let transaction = connection.unchecked_transaction()?;
    let last = last_change(&transaction, table)?;
    if last == seen {
        return Ok((last, Items::new()));
    }
    let sql = format!("SELECT number, key FROM {table}_changes WHERE number > ? ORDER BY number");
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows = statement.query_map([seen], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let noted = rows.collect::<Result<Vec<_>, _>>()?;
    if noted.first().is_none_or(|(first, _)| *first != seen + 1) {
        return Ok((last, read_items(&transaction, table, keys)?));
    }
    let wanted = |key: &String| keys.is_empty() || keys.contains(key);
    let changed: BTreeSet<String> = noted.into_iter().map(|(_, key)| key).filter(wanted).collect();
    if changed.is_empty() {
        return Ok((last, Items::new()));
    }
    let changed = Vec::from_iter(changed);
    let mut items = read_items(&transaction, table, &changed)?;
    for key in changed {
        items.entry(key).or_default();
    }
    Ok((last, items))
}

fn read_items(connection: &Connection, table: &str, keys: &[String]) -> Result<Items, database::Error> {
    let all = format!("SELECT key, value, version, metadata FROM {table}");
    let rows = |sql: &str, parameters: &[&str]| -> Result<Items, database::Error> {
        let mut statement = connection.prepare_cached(sql)?;
        let items = statement.query_map(rusqlite::params_from_iter(parameters), item)?;
        Ok(items.collect::<Result<_, _>>()?)
    };
    if keys.is_empty() {
        return rows(&all, &[]);
    }
    let list = serde_json::to_string(keys).map_err(|e| database::Error::new(e.to_string()))?;
    rows(&format!("{all} WHERE key IN (SELECT value FROM json_each(?))"), &[&list])
}

fn item(row: &Row<'_>) -> rusqlite::Result<(String, Item)> {
    let key: String = row.get(0)?;
    let text = |index| -> rusqlite::Result<String> {
        Ok(match row.get_ref(index)? {
            // Whoever writes a number means its digits.
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            rusqlite::types::ValueRef::Real(number) => number.to_string(),
            rusqlite::types::ValueRef::Null => String::new(),
            other => String::from_utf8_lossy(other.as_bytes()?).into_owned(),
        })
    };
    let metadata = text(3)?;
    let metadata = parse_metadata(&metadata).unwrap_or_else(|| {
        tracing::warn!(target: "dapr.contrib", "Metadata of configuration item {key} is no JSON object: left out");
        RequestMetadata::new()
    });
    let item = Item { value: text(1)?, version: text(2)?, metadata };
    Ok((key, item))
}

/// A JSON object; what is not a string in it becomes its JSON text.
fn parse_metadata(text: &str) -> Option<RequestMetadata> {
    if text.is_empty() {
        return Some(RequestMetadata::new());
    }
    let Value::Object(map) = serde_json::from_str(text).ok()? else { return None };
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(map.into_iter().map(|(name, value)| (name, plain(value))).collect())
}
