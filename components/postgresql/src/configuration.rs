//! `configuration.postgresql`: items in a table of the user's, changes by a
//! trigger of the user's that notifies a channel (components.md §7).

mod options;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{
    ConfigurationStore, Error, Item, Items, Query, RequestMetadata, UpdateHandler,
};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use deadpool_postgres::Pool;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::pool;
use crate::settings::Settings;
use options::Options;
pub(crate) use options::check_name;
use subscription::Subscription;

const TABLE_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_tables WHERE tablename = $1)";

/// Configuration in a table with the columns key, value, version and
/// metadata, in this order.
pub struct PostgresConfiguration {
    settings: Settings,
    options: Options,
    pool: Pool,
    tasks: TaskGroup,
}

/// Reads the metadata as a constructor would.
#[cfg(test)]
pub(crate) fn check_metadata(properties: &dapr_components::Properties) -> Result<(), InitError> {
    Options::parse(properties).map(|_| ())
}

impl PostgresConfiguration {
    /// Connects; fails when the server is away or the table is not there.
    pub async fn connect(context: &InitContext) -> Result<Self, InitError> {
        let options = Options::parse(&context.properties)?;
        let settings = Settings::parse(&context.properties)
            .map_err(|e| InitError::new(format!("PostgreSQL configuration store connection error: {e}")))?;
        let pool = pool::open(&settings, options.timeout)?;
        let tasks = TaskGroup::new(context.tasks.shutdown().child());
        let store = Self { settings, options, pool, tasks };
        store.within(store.check()).await.map_err(|e| InitError::new(e.0))?;
        Ok(store)
    }

    async fn check(&self) -> Result<(), Error> {
        let client = self.pool.get().await.map_err(|e| {
            Error::new(format!("PostgreSQL configuration store ping error: {}", pool::pool_text(&e)))
        })?;
        let table = &self.options.table;
        let rows = client.query_typed(TABLE_EXISTS, &[(table, Type::TEXT)]).await.map_err(|e| {
            let reason = pool::text(&e);
            Error::new(format!("error in checking if configtable '{table}' exists: '{reason}'"))
        })?;
        match rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
            true => Ok(()),
            false => Err(Error::new(format!("postgreSQL configuration table '{table}' does not exist"))),
        }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit: Duration = self.options.timeout;
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(Error::new("context deadline exceeded")))
    }

    async fn rows(&self, keys: &[String]) -> Result<Vec<Row>, Error> {
        let failed =
            |reason: String| Error::new(format!("error in querying configuration store: '{reason}'"));
        let client = self.pool.get().await.map_err(|e| failed(pool::pool_text(&e)))?;
        let all = format!("SELECT * FROM {}", self.options.table);
        let rows = if keys.is_empty() {
            client.query_typed(&all, &[]).await
        } else {
            let keys: &(dyn ToSql + Sync) = &keys;
            client.query_typed(&format!("{all} WHERE key = ANY($1)"), &[(keys, Type::TEXT_ARRAY)]).await
        };
        rows.map_err(|e| failed(pool::text(&e)))
    }
}

#[async_trait]
impl ConfigurationStore for PostgresConfiguration {
    async fn get(&self, query: &Query) -> Result<Items, Error> {
        if let Some(key) = query.keys.iter().find(|key| !options::is_key(key)) {
            return Err(Error::new(format!("invalid key : '{key}'")));
        }
        // Name and value of each are compared with one another, in Dapr by
        // the server: anything else than pairs of equals finds nothing.
        if !query.keys.is_empty() && query.metadata.iter().any(|(name, value)| name != value) {
            return Ok(Items::new());
        }
        let rows = self.within(self.rows(&query.keys)).await?;
        let items = rows.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        Ok(latest(items))
    }

    async fn subscribe(
        &self,
        query: Query,
        stop: Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), Error> {
        if self.tasks.shutdown().is_triggered() {
            return Err(Error::new("configuration store is closed"));
        }
        let channel = self.options.channel(&query.metadata)?;
        let subscription =
            Subscription { settings: self.settings.clone(), channel, keys: query.keys, handler };
        let listening = self.within(subscription.open()).await?;
        let closing = self.tasks.shutdown().clone();
        self.tasks.spawn("postgresql-configuration-subscription", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = closing.wait() => {}
                () = subscription.run(listening) => {}
            }
        });
        Ok(())
    }

    fn unknown_subscription(&self, id: &str) -> String {
        format!("unable to find subscription with ID : {id}")
    }

    async fn close(&self) {
        self.tasks.shutdown().trigger();
        self.pool.close();
    }
}

fn item(row: &Row) -> Result<(String, Item), Error> {
    let failed = |e: tokio_postgres::Error| {
        let reason = pool::text(&e);
        Error::new(format!(
            "unable to parse response from configuration store - error in reading data from configuration store: '{reason}'"
        ))
    };
    if row.len() < 4 {
        return Err(Error::new(format!(
            "unable to parse response from configuration store - {} columns instead of key, value, version and metadata",
            row.len()
        )));
    }
    let metadata: Option<Value> = row.try_get(3).map_err(failed)?;
    let item = Item {
        value: row.try_get(1).map_err(failed)?,
        version: row.try_get(2).map_err(failed)?,
        metadata: metadata.map(to_metadata).unwrap_or_default(),
    };
    Ok((row.try_get(0).map_err(failed)?, item))
}

/// What is not a string in it becomes its JSON text.
fn to_metadata(value: Value) -> RequestMetadata {
    let Value::Object(map) = value else { return RequestMetadata::new() };
    map.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Of several rows of one key the one with the highest number as version, of
/// equals the first.
fn latest(rows: Vec<(String, Item)>) -> Items {
    let number = |item: &Item| item.version.parse::<i64>().unwrap_or(-1);
    let mut items = Items::new();
    for (key, item) in rows {
        match items.get(&key) {
            Some(known) if number(known) >= number(&item) => {}
            _ => {
                items.insert(key, item);
            }
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_wins_and_the_first_of_equals() {
        let row = |value: &str, version: &str| {
            ("k".to_owned(), Item { value: value.into(), version: version.into(), ..Item::default() })
        };
        let value = |rows| latest(rows)["k"].value.clone();
        assert_eq!(value(vec![row("a", "9"), row("b", "10"), row("c", "1")]), "b");
        assert_eq!(value(vec![row("a", "x"), row("b", "0")]), "b");
        assert_eq!(value(vec![row("a", "x"), row("b", "y")]), "a");
    }
}
