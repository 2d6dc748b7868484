//! `state.redis`: one hash per key with the fields `data`, `version` (the ETag)
//! and `first-write`, or a JSON document where the server has that module and
//! the request asks for it (components.md §3.3).

mod like;
mod query;
mod scripts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::state::{
    Concurrency, Consistency, DeleteRequest, Error, Feature, GetRequest, Item, KeysLikeRequest, KeysPage,
    Operation, QueryResponse, RequestMetadata, SetRequest, StateStore, TransactionRequest,
};
use dapr_components::{InitContext, InitError, Properties};
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use crate::connect::Connector;
use crate::connection::{Connection, bytes_of, first_error, text, text_of};
use crate::settings::{Kind, Settings};
use scripts::{Script, Scripts};

/// How long a strong write waits for replicas.
const REPLICA_WAIT: Duration = Duration::from_secs(1);
/// Keys that one step of a scan looks at.
const SCAN_COUNT: u32 = 1000;

const FEATURES: &[Feature] = &[Feature::Etag, Feature::Transactional, Feature::Ttl, Feature::KeysLike];
const FEATURES_WITH_JSON: &[Feature] =
    &[Feature::Etag, Feature::Transactional, Feature::Ttl, Feature::QueryApi, Feature::KeysLike];

pub struct RedisStore {
    host: String,
    /// How logs call the component.
    log_name: String,
    connection: Connection,
    /// For commands that make the server pause this connection.
    waiting: Connection,
    scripts: Scripts,
    has_json: bool,
    replicas: u64,
    indexes: query::Indexes,
    /// Seconds; for items that bring no TTL of their own.
    default_ttl: Option<i64>,
    warned_of_rollback: AtomicBool,
}

/// Metadata beyond what the family shares.
pub(crate) struct Options {
    indexes: query::Indexes,
    default_ttl: Option<i64>,
}

impl Options {
    pub(crate) fn parse(properties: &Properties) -> Result<Self, InitError> {
        let indexes = query::Indexes::parse(properties.get("queryIndexes").unwrap_or_default())
            .map_err(|e| InitError::new(format!("redis store: error parsing query index schema: {e}")))?;
        Ok(Self { indexes, default_ttl: properties.integer("ttlInSeconds")? })
    }
}

/// Whether `queryIndexes` can be read.
pub(crate) fn check_indexes(text: &str) -> Result<(), String> {
    match query::Indexes::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a JSON list of indexes ({error})")),
    }
}

impl RedisStore {
    /// Connects and looks at what the server can do; fails when it is away.
    pub async fn connect(context: &InitContext) -> Result<Self, InitError> {
        let settings = Settings::parse(&context.properties, Kind::State)?;
        let Options { indexes, default_ttl } = Options::parse(&context.properties)?;
        let connector = Arc::new(Connector::new(&settings)?);
        let open = |timeout| Connection::new(connector.clone(), timeout, settings.retry);
        let mut store = Self {
            host: settings.host(),
            log_name: context.log_name(),
            connection: open(settings.read_timeout),
            waiting: open(settings.read_timeout.map(|timeout| timeout + REPLICA_WAIT)),
            scripts: Scripts::new(),
            has_json: false,
            replicas: 0,
            indexes,
            default_ttl,
            warned_of_rollback: AtomicBool::new(false),
        };
        store.ping().await.map_err(|e| InitError::new(e.to_string()))?;
        store.replicas = store.connection.connected_replicas().await.map_err(|e| InitError::new(text(&e)))?;
        store.create_indexes().await.map_err(|e| {
            InitError::new(format!("redis store: error registering query schemas: {}", text(&e)))
        })?;
        store.has_json = store.probe_json().await;
        Ok(store)
    }

    /// Without arguments the command fails either way; only the text tells.
    async fn probe_json(&self) -> bool {
        match self.connection.call(&cmd("JSON.GET")).await {
            Ok(_) => true,
            Err(error) => !text(&error).starts_with("ERR unknown command"),
        }
    }

    async fn create_indexes(&self) -> RedisResult<()> {
        for (name, index) in self.indexes.iter() {
            tracing::info!(target: "dapr.contrib", component = %self.log_name, "create query index {name}");
            match self.connection.call(&index.create_command(name)).await {
                Ok(_) => continue,
                Err(error) if text(&error).contains("Index already exists") => {}
                Err(error) => return Err(error),
            }
            tracing::info!(
                target: "dapr.contrib", component = %self.log_name,
                "drop stale query index {name}"
            );
            self.connection.call(cmd("FT.DROPINDEX").arg(name)).await?;
            self.connection.call(&index.create_command(name)).await?;
        }
        Ok(())
    }

    fn wants_json(&self, metadata: &RequestMetadata) -> bool {
        self.has_json && metadata.get("contentType").is_some_and(|v| v == "application/json")
    }

    fn plan<'a>(&self, request: &'a SetRequest, json: bool) -> Result<Write<'a>, Error> {
        let expected = match (request.concurrency, request.etag()) {
            (Concurrency::LastWrite, _) | (_, None) => 0,
            (_, Some(etag)) => etag.parse::<i64>().map_err(|e| {
                let quoted = dapr_gocompat::quote::quote(etag);
                Error::EtagInvalid(format!("strconv.Atoi: parsing {quoted}: {}", go_reason(&e)))
            })?,
        };
        let ttl = match request.metadata.get("ttlInSeconds").filter(|v| !v.is_empty()) {
            None => self.default_ttl,
            Some(text) => Some(text.parse::<i64>().map_err(|e| {
                let quoted = dapr_gocompat::quote::quote(text);
                Error::other(format!(
                    "failed to parse ttl from metadata: strconv.ParseInt: parsing {quoted}: {}",
                    go_reason(&e)
                ))
            })?),
        };
        let data = if json { query::document(&request.value) } else { request.value.as_bytes().clone() };
        Ok(Write { key: &request.key, expected, data, ttl })
    }

    async fn write(&self, request: &SetRequest, script: &Script, write: &Write<'_>) -> RedisResult<()> {
        let marker = if request.concurrency == Concurrency::FirstWrite { "0" } else { "1" };
        let ttl = write.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
        let mut by_hash = cmd("EVALSHA");
        by_hash.arg(script.hash()).arg(1).arg(write.key).arg(write.expected);
        by_hash.arg(&write.data[..]).arg(marker).arg(ttl);
        let strong = request.consistency == Consistency::Strong && self.replicas > 0;
        let connection = if strong { &self.waiting } else { &self.connection };
        if strong {
            // The pause must follow the write on the same connection.
            connection.call(&script.load_command()).await?;
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(by_hash);
            pipeline.cmd("WAIT").arg(self.replicas).arg(REPLICA_WAIT.as_millis().to_string());
            return first_error(connection.call_all(&pipeline, 0, 2).await?);
        }
        self.run(&by_hash, script).await.map(drop)
    }

    /// Runs a script by its hash; a server that does not know it (a restart)
    /// gets the text.
    async fn run(&self, by_hash: &redis::Cmd, script: &Script) -> RedisResult<Value> {
        match self.connection.call(by_hash).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.connection.call(&script.load_command()).await?;
                self.connection.call(by_hash).await
            }
            result => result,
        }
    }

    /// A value that was written by other means than this component.
    async fn get_plain(&self, key: &str) -> Result<Option<Item>, Error> {
        let value = self.connection.call(cmd("GET").arg(key)).await.map_err(|e| Error::other(text(&e)))?;
        Ok(bytes_of(value).map(|data| Item { data: data.into(), ..Item::default() }))
    }

    async fn get_json(&self, key: &str) -> Result<Option<Item>, Error> {
        let value =
            self.connection.call(cmd("JSON.GET").arg(key)).await.map_err(|e| Error::other(text(&e)))?;
        match bytes_of(value) {
            None => Ok(None),
            Some(document) => query::item_of(&document).map(Some).map_err(Error::Other),
        }
    }
}

/// What a set request asks of the server.
struct Write<'a> {
    key: &'a str,
    /// Version that the key must have; 0 when the caller named none.
    expected: i64,
    data: Bytes,
    /// Above zero: expire; otherwise: never expire; `None`: as it was.
    ttl: Option<i64>,
}

#[async_trait]
impl StateStore for RedisStore {
    fn features(&self) -> &[Feature] {
        if self.has_json { FEATURES_WITH_JSON } else { FEATURES }
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        if self.wants_json(&request.metadata) {
            return self.get_json(&request.key).await;
        }
        match self.connection.call(cmd("HGETALL").arg(&request.key)).await {
            Ok(fields) => item_of(fields),
            Err(error) if error.code().is_some() => self.get_plain(&request.key).await,
            Err(error) => Err(Error::other(text(&error))),
        }
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        let json = self.wants_json(&request.metadata);
        let script = if json { &self.scripts.set_json } else { &self.scripts.set };
        let write = self.plan(request, json)?;
        let Err(error) = self.write(request, script, &write).await else { return Ok(()) };
        let key = &request.key;
        if error.code() == Some(scripts::TTL_ERROR) {
            let cause = error.detail().unwrap_or_default();
            return Err(Error::other(format!("failed to set key {key} ttl: {cause}")));
        }
        if request.etag().is_some() {
            return Err(Error::EtagMismatch(text(&error)));
        }
        Err(Error::other(format!("failed to set key {key}: {}", text(&error))))
    }

    /// Every failure is an ETag mismatch, a lost connection included: that is
    /// what clients of this store have always been told.
    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        let json = self.wants_json(&request.metadata);
        let script = if json { &self.scripts.delete_json } else { &self.scripts.delete };
        let mut by_hash = cmd("EVALSHA");
        by_hash.arg(script.hash()).arg(1).arg(&request.key).arg(request.etag().unwrap_or("0"));
        let done = self.run(&by_hash, script).await;
        done.map(drop).map_err(|e| Error::EtagMismatch(text(&e)))
    }

    /// Redis runs the remaining commands when one fails, and undoes nothing.
    async fn transact(&self, request: &TransactionRequest) -> Result<(), Error> {
        if !self.warned_of_rollback.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "dapr.contrib",
                component = %self.log_name,
                "Redis does not support transaction rollbacks and should not be used in production as an \
                 actor state store."
            );
        }
        let all_json = self.wants_json(&request.metadata);
        let mut pipeline = Pipeline::with_capacity(request.operations.len());
        pipeline.atomic();
        for operation in &request.operations {
            // The text, not the hash: a server that forgot the script must not
            // leave a transaction half done.
            match operation {
                Operation::Upsert(set) => {
                    let json = all_json || self.wants_json(&set.metadata);
                    let script = if json { &self.scripts.set_json } else { &self.scripts.set };
                    let write = self.plan(set, json)?;
                    pipeline.cmd("EVAL").arg(script.text()).arg(1).arg(write.key).arg(write.expected);
                    // Transactions never set the first-write marker.
                    pipeline.arg(&write.data[..]).arg("1").arg("");
                    match write.ttl {
                        Some(ttl) if ttl > 0 => {
                            pipeline.cmd("EXPIRE").arg(write.key).arg(ttl);
                        }
                        Some(_) => {
                            pipeline.cmd("PERSIST").arg(write.key);
                        }
                        None => {}
                    }
                }
                Operation::Delete(delete) => {
                    let json = all_json || self.wants_json(&delete.metadata);
                    let script = if json { &self.scripts.delete_json } else { &self.scripts.delete };
                    pipeline.cmd("EVAL").arg(script.text()).arg(1).arg(&delete.key);
                    pipeline.arg(delete.etag().unwrap_or("0"));
                }
            }
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        // MULTI and one QUEUED per command come before the answer that counts.
        let answers = self.connection.call_all(&pipeline, pipeline.len() + 1, 1).await;
        answers.and_then(first_error).map_err(|e| Error::other(text(&e)))
    }

    async fn query(&self, body: &[u8], metadata: &RequestMetadata) -> Result<QueryResponse, Error> {
        if !self.has_json {
            return Err(Error::other("redis-json server support is required for query capability"));
        }
        let search = self.indexes.search(body, metadata).map_err(Error::Other)?;
        let found = self.connection.call(&search.command()).await.map_err(|e| Error::other(text(&e)))?;
        search.response(found).map_err(Error::Other)
    }

    async fn keys_like(&self, request: &KeysLikeRequest) -> Result<KeysPage, Error> {
        if request.pattern.is_empty() {
            return Err(Error::other("keys like pattern cannot be empty"));
        }
        let glob = like::to_glob(&request.pattern);
        let keys = self.scan(&glob).await?;
        Ok(like::page(keys, request))
    }

    async fn ping(&self) -> Result<(), Error> {
        match self.connection.call(&cmd("PING")).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::other(format!(
                "redis store: error connecting to redis at {}: {}",
                self.host,
                text(&error)
            ))),
        }
    }

    async fn close(&self) {
        self.connection.close();
        self.waiting.close();
    }
}

impl RedisStore {
    /// All matching keys, sorted. A scan may name a key more than once.
    async fn scan(&self, glob: &str) -> Result<BTreeSet<String>, Error> {
        let mut keys = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut command = cmd("SCAN");
            command.arg(&cursor).arg("MATCH").arg(glob).arg("COUNT").arg(SCAN_COUNT);
            let answer = self.connection.call(&command).await.map_err(|e| scan_failed(&e))?;
            let Value::Array(parts) = answer else { return Err(Error::other("unexpected SCAN response")) };
            let mut parts = parts.into_iter();
            let next = parts.next().and_then(text_of);
            let (Some(next), Some(Value::Array(page))) = (next, parts.next()) else {
                return Err(Error::other("unexpected SCAN response"));
            };
            keys.extend(page.into_iter().filter_map(text_of));
            if next == "0" {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

fn scan_failed(error: &RedisError) -> Error {
    Error::other(format!("redis SCAN failed: {}", text(error)))
}

/// Item of a hash; a key that does not exist has no fields.
fn item_of(fields: Value) -> Result<Option<Item>, Error> {
    let pairs: Vec<(Value, Value)> = match fields {
        Value::Nil => return Ok(None),
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| flat.next().zip(flat.next())).collect()
        }
        Value::Map(pairs) => pairs,
        _ => return Err(Error::other("unexpected HGETALL response")),
    };
    if pairs.is_empty() {
        return Ok(None);
    }
    let (mut data, mut version) = (None, None);
    for (field, value) in pairs {
        match bytes_of(field).as_deref() {
            Some(b"data") => data = bytes_of(value),
            Some(b"version") => version = text_of(value),
            _ => {}
        }
    }
    match data.zip(version) {
        Some((data, etag)) => Ok(Some(Item { data: data.into(), etag: Some(etag), ..Item::default() })),
        None => Err(Error::other("required hash field 'data' or 'version' was not found")),
    }
}

fn go_reason(error: &std::num::ParseIntError) -> &'static str {
    match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_value(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_hash_needs_both_fields() {
        assert_eq!(item_of(Value::Array(Vec::new())).unwrap(), None);
        let whole = ["version", "3", "first-write", "0", "data", "x"].map(text_value);
        let item = item_of(Value::Array(whole.to_vec())).unwrap().unwrap();
        assert_eq!((&item.data[..], item.etag.as_deref()), (&b"x"[..], Some("3")));
        let half = Value::Map(vec![(text_value("data"), text_value("x"))]);
        assert_eq!(
            item_of(half).unwrap_err().to_string(),
            "required hash field 'data' or 'version' was not found"
        );
    }
}
