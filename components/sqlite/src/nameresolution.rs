//! Name resolution `sqlite` (components.md §11, runtime.md §7): every sidecar
//! of a machine keeps one row with its address.

use std::time::Duration;

use async_trait::async_trait;
use dapr_components::nameresolution::{self, Error, ResolveRequest, ResolverContext};
use dapr_components::{InitError, Properties};
use dapr_kernel::Shutdown;
use rusqlite::OptionalExtension;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cleanup::{self, Cleanup};
use crate::connection::{Defaults, Options, identifier};
use crate::database::{self, Database, Write};
use crate::migrations::Migrations;

const DEFAULTS: Defaults =
    Defaults { timeout: Duration::from_secs(1), busy_timeout: Duration::from_millis(800) };
const DEFAULT_UPDATE_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_CLEANUP_INTERVAL: Duration = Duration::from_secs(3600);
const RENEWAL_RETRY: Duration = Duration::from_millis(50);

/// Announces this sidecar and finds others, through one table.
pub struct NameResolver {
    database: Database,
    registration: Registration,
    resolve: String,
    stop: Shutdown,
}

/// This sidecar's row.
#[derive(Clone)]
struct Registration {
    table: String,
    id: String,
    address: String,
}

struct Settings {
    options: Options,
    table: String,
    metadata_table: String,
    update_interval: Duration,
    cleanup_interval: Duration,
}

impl Settings {
    fn new(properties: &Properties) -> Result<Self, InitError> {
        let options = Options::new(properties, DEFAULTS)?;
        let name = |property: &str, default: &'static str, kind: &str| {
            let value = properties.get(property).unwrap_or(default);
            identifier(value)
                .map(str::to_owned)
                .ok_or_else(|| InitError::new(format!("invalid identifier for {kind} name: {value}")))
        };
        let table = name("tableName", "hosts", "table")?;
        let metadata_table = name("metadataTableName", "metadata", "metadata table")?;
        let update_interval = properties.duration("updateInterval")?.unwrap_or(DEFAULT_UPDATE_INTERVAL);
        if update_interval.subsec_nanos() != 0 {
            return Err(InitError::new("update interval must not contain fractions of seconds"));
        }
        if update_interval < options.timeout + Duration::from_secs(1) {
            return Err(InitError::new("update interval must be at least 1s greater than timeout"));
        }
        let cleanup_interval = cleanup::interval(properties, DEFAULT_CLEANUP_INTERVAL)?;
        Ok(Self { options, table, metadata_table, update_interval, cleanup_interval })
    }
}

/// The configuration as flat metadata; other values than texts, numbers and
/// booleans have no meaning here.
fn properties(configuration: &Value) -> Result<Properties, InitError> {
    let items = configuration.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        Some((name.clone(), text))
    });
    Ok(Properties::new(items)?)
}

impl NameResolver {
    /// Opens the database, registers this sidecar and keeps it registered.
    pub async fn open(context: ResolverContext) -> Result<Self, InitError> {
        let instance = &context.instance;
        if instance.identity.app_id().is_empty() {
            return Err(InitError::new("name is missing"));
        }
        if instance.internal_grpc_port == 0 {
            return Err(InitError::new("port is missing or invalid"));
        }
        let settings = Settings::new(&properties(&context.configuration)?)?;
        if settings.options.in_memory() {
            tracing::warn!(
                target: "dapr.contrib",
                "Configuring name resolution with an in-memory SQLite database. Service invocation across different apps will not work."
            );
        }
        let steps = [create_table(&settings.table)];
        let metadata_table = settings.metadata_table.clone();
        let database = Database::open(settings.options.clone(), move |connection| {
            Migrations { metadata_table: &metadata_table, key: "nr-migrations", steps: &steps }
                .perform(connection)
        })
        .await?;
        let registration = Registration {
            table: settings.table.clone(),
            id: uuid::Uuid::new_v4().to_string(),
            address: std::net::SocketAddr::new(instance.address, instance.internal_grpc_port).to_string(),
        };
        registration.register(&database, instance.identity.app_id()).await?;

        let stop = context.tasks.shutdown().child();
        let interval = settings.update_interval.as_secs();
        let cleanup = Cleanup {
            metadata_table: settings.metadata_table,
            key: "nr-last-cleanup",
            row: "rowid",
            table: settings.table.clone(),
            expired: format!("unixepoch(CURRENT_TIMESTAMP) - last_update >= {interval}"),
            interval: settings.cleanup_interval,
        };
        cleanup.start(database.clone(), &context.tasks, stop.clone());
        // Due every interval, and it may take as long as the timeout.
        let every = settings.update_interval - settings.options.timeout;
        let renewal = Renewal {
            registration: registration.clone(),
            database: database.clone(),
            every,
            limit: settings.options.timeout,
        };
        let (until, everything) = (stop.clone(), context.tasks.shutdown().clone());
        context.tasks.spawn("sqlite-name-renewal", async move { renewal.run(&until, &everything).await });

        let resolve = format!(
            "SELECT address FROM {} WHERE app_id = ? AND unixepoch(CURRENT_TIMESTAMP) - last_update < {interval}
             ORDER BY RANDOM() LIMIT 1",
            settings.table
        );
        Ok(Self { database, registration, resolve, stop })
    }
}

fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (
            registration_id TEXT NOT NULL PRIMARY KEY,
            address TEXT NOT NULL,
            app_id TEXT NOT NULL,
            namespace TEXT NOT NULL,
            last_update INTEGER NOT NULL
        );
        CREATE UNIQUE INDEX {table}_address_idx ON {table} (address);
        CREATE INDEX {table}_last_update_idx ON {table} (last_update);"
    )
}

impl Registration {
    /// Takes over the row of whoever had this address before.
    async fn register(&self, database: &Database, app_id: &str) -> Result<(), InitError> {
        let text = format!(
            "REPLACE INTO {} (registration_id, address, app_id, namespace, last_update)
             VALUES (?, ?, ?, '', unixepoch(CURRENT_TIMESTAMP))",
            self.table
        );
        let (id, address, app_id) = (self.id.clone(), self.address.clone(), app_id.to_owned());
        database
            .write(Write::Single, move |connection| {
                connection.execute(&text, [id, address, app_id]).map_err(database::Error::from)
            })
            .await
            .map(drop)
            .map_err(|e| InitError::new(format!("failed to register host: {e}")))
    }

    /// Runs `text` with this registration's id and address; number of rows.
    async fn execute(&self, database: &Database, text: String) -> Result<usize, database::Error> {
        let (id, address) = (self.id.clone(), self.address.clone());
        database.write(Write::Single, move |connection| Ok(connection.execute(&text, [id, address])?)).await
    }
}

struct Renewal {
    registration: Registration,
    database: Database,
    every: Duration,
    limit: Duration,
}

impl Renewal {
    /// A row that is gone means that another sidecar announced the same
    /// address: this one must not go on.
    async fn run(&self, until: &Shutdown, everything: &Shutdown) {
        while until.guard(sleep(self.every)).await.is_some() {
            match self.renew().await {
                Ok(true) => {}
                Ok(false) if until.is_triggered() => return,
                Ok(false) => {
                    tracing::error!(target: "dapr.contrib", "Host registration lost");
                    everything.trigger();
                    return;
                }
                Err(e) => {
                    tracing::error!(target: "dapr.contrib", "Failed to update host registration: {e}");
                }
            }
        }
    }

    async fn renew(&self) -> Result<bool, database::Error> {
        let text = format!(
            "UPDATE {} SET last_update = unixepoch(CURRENT_TIMESTAMP) WHERE registration_id = ? AND address = ?",
            self.registration.table
        );
        let limit = Instant::now() + self.limit;
        loop {
            match self.registration.execute(&self.database, text.clone()).await {
                Ok(rows) => return Ok(rows > 0),
                Err(e) if timeout_at(limit, sleep(RENEWAL_RETRY)).await.is_err() => return Err(e),
                Err(_) => {}
            }
        }
    }
}

#[async_trait]
impl nameresolution::NameResolver for NameResolver {
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error> {
        let (text, app_id) = (self.resolve.clone(), request.app_id.to_owned());
        let found: Result<Option<String>, database::Error> = self
            .database
            .read(move |connection| {
                Ok(connection.prepare_cached(&text)?.query_row([app_id], |row| row.get(0)).optional()?)
            })
            .await;
        match found {
            Ok(Some(address)) => Ok(vec![address]),
            Ok(None) => Err(Error("no host found with the given ID".to_owned())),
            Err(e) => Err(Error(format!("failed to look up address: {e}"))),
        }
    }

    async fn close(&self) {
        self.stop.trigger();
        let text =
            format!("DELETE FROM {} WHERE registration_id = ? AND address = ?", self.registration.table);
        match self.registration.execute(&self.database, text).await {
            Ok(0) => tracing::error!(target: "dapr.contrib", "failed to unregister host: no row deleted"),
            Ok(_) => {}
            Err(e) => tracing::error!(target: "dapr.contrib", "failed to unregister host: {e}"),
        }
        self.database.close().await;
    }
}

impl Drop for NameResolver {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::nameresolution::{Instance, NameResolver as _};
    use dapr_kernel::AppIdentity;
    use dapr_kernel::tasks::TaskGroup;
    use serde_json::json;

    use super::*;

    async fn open(configuration: Value, app: &str, port: u16) -> Result<(NameResolver, TaskGroup), String> {
        let tasks = TaskGroup::new(Shutdown::new());
        let context = ResolverContext {
            configuration,
            instance: Instance {
                identity: AppIdentity::new(app, None),
                address: [127, 0, 0, 1].into(),
                http_port: 3500,
                internal_grpc_port: port,
                app_port: 0,
            },
            tasks: tasks.clone(),
        };
        NameResolver::open(context).await.map(|r| (r, tasks)).map_err(|e| e.to_string())
    }

    fn request(app_id: &str) -> ResolveRequest<'_> {
        ResolveRequest { app_id, namespace: "default", port: 0 }
    }

    #[tokio::test]
    async fn registers_resolves_and_deregisters() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({"connectionString": dir.path().join("nr.db"), "updateInterval": 3});
        let (one, _) = open(config.clone(), "one", 7001).await.unwrap();
        let (two, _) = open(config, "two", 7002).await.unwrap();
        assert_eq!(one.resolve(&request("two")).await.unwrap(), ["127.0.0.1:7002"]);
        assert_eq!(two.resolve(&request("one")).await.unwrap(), ["127.0.0.1:7001"]);
        let error = one.resolve(&request("three")).await.unwrap_err();
        assert_eq!(error.to_string(), "no host found with the given ID");
        two.close().await;
        assert!(one.resolve(&request("two")).await.is_err());
        let check = rusqlite::Connection::open(dir.path().join("nr.db")).unwrap();
        let level: String = check
            .query_row("SELECT value FROM metadata WHERE key = 'nr-migrations'", [], |r| r.get(0))
            .unwrap();
        let namespace: String = check.query_row("SELECT namespace FROM hosts", [], |r| r.get(0)).unwrap();
        assert_eq!((level.as_str(), namespace.as_str()), ("1", ""));
        one.close().await;
    }

    #[tokio::test]
    async fn cleanup_deletes_dead_rows_and_keeps_live_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nr.db");
        let config = json!({"connectionString": path, "cleanupInterval": "1s"});
        let (one, _) = open(config, "one", 7001).await.unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        other
            .execute("INSERT INTO hosts VALUES ('dead', '127.0.0.1:1', 'dead', '', unixepoch() - 60)", [])
            .unwrap();
        let count = |id: &str| -> i64 {
            other.query_row("SELECT count(*) FROM hosts WHERE app_id = ?", [id], |r| r.get(0)).unwrap()
        };
        let limit = Instant::now() + Duration::from_secs(20);
        while count("dead") > 0 {
            assert!(Instant::now() < limit, "the dead row stays");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(count("one"), 1);
        one.close().await;
    }

    #[tokio::test]
    async fn a_lost_registration_ends_the_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nr.db");
        let (one, tasks) =
            open(json!({"connectionString": path, "updateInterval": "2s"}), "one", 7001).await.unwrap();
        rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM hosts", []).unwrap();
        tokio::time::timeout(Duration::from_secs(20), tasks.shutdown().wait()).await.unwrap();
        drop(one);
    }

    #[tokio::test]
    async fn configuration_errors() {
        let error = |configuration| async { open(configuration, "one", 7001).await.err().unwrap() };
        assert_eq!(error(json!({})).await, "missing connection string");
        assert_eq!(
            error(json!({"connectionString": "a", "updateInterval": "1500ms"})).await,
            "update interval must not contain fractions of seconds"
        );
        assert_eq!(
            error(json!({"connectionString": "a", "updateInterval": "1s"})).await,
            "update interval must be at least 1s greater than timeout"
        );
        assert_eq!(
            error(json!({"connectionString": "a", "tableName": "a b"})).await,
            "invalid identifier for table name: a b"
        );
    }
}
