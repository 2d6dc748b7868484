//! `state.sqlite` (components.md §3.5).

mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::state::{
    self, BulkItem, Concurrency, DeleteRequest, Error, Feature, GetRequest, Item, KeysLikeRequest, KeysPage,
    Operation, SetRequest, TransactionRequest, Value,
};
use dapr_components::ttl::{StateTtl, state_ttl};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;

use crate::cleanup::{self, Cleanup};
use crate::connection::{Defaults, Options, identifier};
use crate::database::{Database, Write};
use crate::migrations::Migrations;
use statements::{PreparedDelete, PreparedSet, Statements};

const FEATURES: &[Feature] = &[Feature::Etag, Feature::Transactional, Feature::Ttl, Feature::KeysLike];

/// State in one table of a SQLite file. Its layout is shared with other
/// sidecars, whatever program they are.
pub struct StateStore {
    database: Database,
    statements: Arc<Statements>,
    stop: Shutdown,
}

impl From<crate::database::Error> for Error {
    fn from(error: crate::database::Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl StateStore {
    /// Opens or creates the database; reads the metadata of the SQLite family
    /// plus `tableName`, `metadataTableName` and `cleanupInterval`.
    pub async fn open(context: InitContext) -> Result<Self, InitError> {
        let properties = &context.properties;
        let options = Options::new(properties, Defaults::default())?;
        let name = |property: &str, default: &'static str| {
            let value = properties.get(property).unwrap_or(default);
            identifier(value)
                .map(str::to_owned)
                .ok_or_else(|| InitError::new(format!("invalid identifier: {value}")))
        };
        let table = name("tableName", "state")?;
        let metadata_table = name("metadataTableName", "metadata")?;
        let interval = cleanup::interval(properties, Duration::ZERO)?;
        let create = [statements::create_table(&table)];
        let migrations_table = metadata_table.clone();
        let database = Database::open(options, move |connection| {
            let migrations =
                Migrations { metadata_table: &migrations_table, key: "migrations", steps: &create };
            migrations.perform(connection)
        })
        .await?;
        let stop = context.tasks.shutdown().child();
        let cleanup = Cleanup {
            metadata_table,
            key: "last-cleanup",
            row: "rowid",
            expired: "expiration_time IS NOT NULL AND expiration_time < CURRENT_TIMESTAMP".to_owned(),
            table: table.clone(),
            interval,
        };
        cleanup.start(database.clone(), &context.tasks, stop.clone());
        Ok(Self { database, statements: Arc::new(Statements::new(&table)), stop })
    }
}

impl Drop for StateStore {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

fn prepare_set(request: &SetRequest) -> Result<PreparedSet, Error> {
    if request.key.is_empty() {
        return Err(Error::other("missing key in set option"));
    }
    let ttl = state_ttl(&request.metadata).map_err(|e| Error::Other(format!("error parsing TTL: {e}")))?;
    Ok(PreparedSet {
        key: request.key.clone(),
        value: statements::encode(&request.value)?,
        is_binary: matches!(request.value, Value::Bytes(_)),
        new_etag: uuid::Uuid::new_v4(),
        etag: request.etag().map(str::to_owned),
        first_write: request.concurrency == Concurrency::FirstWrite,
        ttl: match ttl {
            StateTtl::After(ttl) => Some(ttl.as_secs()),
            StateTtl::Absent | StateTtl::Never => None,
        },
    })
}

fn prepare_delete(request: &DeleteRequest) -> Result<PreparedDelete, Error> {
    if request.key.is_empty() {
        return Err(Error::other("missing key in delete operation"));
    }
    Ok(PreparedDelete { key: request.key.clone(), etag: request.etag().map(str::to_owned) })
}

enum Prepared {
    Set(PreparedSet),
    Delete(PreparedDelete),
}

#[async_trait]
impl state::StateStore for StateStore {
    fn features(&self) -> &[Feature] {
        FEATURES
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        if request.key.is_empty() {
            return Err(Error::other("missing key in get operation"));
        }
        let (statements, key) = (self.statements.clone(), request.key.clone());
        self.database.read(move |connection| statements.get(connection, &key)).await
    }

    /// One query; found items come first, in no order.
    async fn bulk_get(&self, requests: &[GetRequest], _parallelism: usize) -> Result<Vec<BulkItem>, Error> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = requests.iter().map(|request| request.key.clone()).collect();
        let statements = self.statements.clone();
        self.database.read(move |connection| statements.bulk_get(connection, keys)).await
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        let set = prepare_set(request)?;
        let statements = self.statements.clone();
        self.database.write(Write::Single, move |connection| statements.set(connection, &set)).await
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        let delete = prepare_delete(request)?;
        let statements = self.statements.clone();
        self.database.write(Write::Single, move |connection| statements.delete(connection, &delete)).await
    }

    async fn transact(&self, request: &TransactionRequest) -> Result<(), Error> {
        let mut prepared = Vec::with_capacity(request.operations.len());
        for operation in &request.operations {
            prepared.push(match operation {
                Operation::Upsert(set) => Prepared::Set(prepare_set(set)?),
                Operation::Delete(delete) => Prepared::Delete(prepare_delete(delete)?),
            });
        }
        if prepared.is_empty() {
            return Ok(());
        }
        let statements = self.statements.clone();
        self.database
            .write(Write::Atomic, move |connection| {
                prepared.iter().try_for_each(|operation| match operation {
                    Prepared::Set(set) => statements.set(connection, set),
                    Prepared::Delete(delete) => statements.delete(connection, delete),
                })
            })
            .await
    }

    /// In the order of writing. The token is the last row of the page; it is
    /// also given when the page happens to end with the last key.
    async fn keys_like(&self, request: &KeysLikeRequest) -> Result<KeysPage, Error> {
        request.check()?;
        let (statements, request) = (self.statements.clone(), request.clone());
        self.database.read(move |connection| statements.keys_like(connection, &request)).await
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(self.database.ping().await?)
    }

    async fn close(&self) {
        self.stop.trigger();
        self.database.close().await;
    }
}
