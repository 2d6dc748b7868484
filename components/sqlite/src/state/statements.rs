//! The statements of one state table.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_components::state::{BulkItem, Error, Item, KeysLikeRequest, KeysPage, RequestMetadata, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use uuid::fmt::Hyphenated;

/// Keys that one statement asks for; SQLite allows 32766 parameters.
const BULK_CHUNK: usize = 1000;

const LIVE: &str = "(expiration_time IS NULL OR expiration_time > CURRENT_TIMESTAMP)";
const COLUMNS: &str = "key, value, is_binary, etag, strftime('%Y-%m-%dT%H:%M:%SZ', expiration_time)";

/// The order of the columns is part of the layout: other programs insert by
/// position.
pub(super) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (
            key TEXT NOT NULL PRIMARY KEY,
            value TEXT NOT NULL,
            is_binary BOOLEAN NOT NULL,
            etag TEXT NOT NULL,
            expiration_time TIMESTAMP DEFAULT NULL,
            update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
        )"
    )
}

pub(super) struct PreparedSet {
    pub(super) key: String,
    /// As [`encode`] made it.
    pub(super) value: EncodedValue,
    pub(super) is_binary: bool,
    pub(super) new_etag: uuid::Uuid,
    pub(super) etag: Option<String>,
    pub(super) first_write: bool,
    /// Seconds.
    pub(super) ttl: Option<u64>,
}

pub(super) struct PreparedDelete {
    pub(super) key: String,
    pub(super) etag: Option<String>,
}

pub(super) enum EncodedValue {
    Base64(String),
    /// Checked to be UTF-8.
    Text(Bytes),
}

impl EncodedValue {
    fn as_text(&self) -> Result<&str, Error> {
        match self {
            Self::Base64(text) => Ok(text),
            Self::Text(bytes) => text_of(bytes),
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|e| Error::Other(format!("value is not valid JSON text: {e}")))
}

/// Binary values become base64, JSON stays what it is.
pub(super) fn encode(value: &Value) -> Result<EncodedValue, Error> {
    match value {
        Value::Bytes(bytes) => Ok(EncodedValue::Base64(STANDARD.encode(bytes))),
        Value::Json(bytes) => {
            text_of(bytes)?;
            Ok(EncodedValue::Text(bytes.clone()))
        }
    }
}

fn sql(error: rusqlite::Error) -> Error {
    Error::Other(error.to_string())
}

/// SQL texts for one table name, made once.
pub(super) struct Statements {
    get: String,
    bulk_get: String,
    set: String,
    set_first: String,
    set_etag: String,
    delete: String,
    delete_etag: String,
    keys_like: String,
}

impl Statements {
    pub(super) fn new(table: &str) -> Self {
        // A NULL modifier makes DATETIME give NULL: no expiry.
        let expiry = "DATETIME(CURRENT_TIMESTAMP, ?5)";
        Self {
            get: format!("SELECT {COLUMNS} FROM {table} WHERE key = ? AND {LIVE}"),
            bulk_get: format!("SELECT {COLUMNS} FROM {table} WHERE {LIVE} AND key IN "),
            set: format!(
                "INSERT OR REPLACE INTO {table} (key, value, is_binary, etag, expiration_time, update_time)
                 VALUES (?1, ?2, ?3, ?4, {expiry}, CURRENT_TIMESTAMP)"
            ),
            // An expired row that was not removed yet does not count.
            set_first: format!(
                "INSERT OR REPLACE INTO {table} (key, value, is_binary, etag, expiration_time, update_time)
                 SELECT ?1, ?2, ?3, ?4, {expiry}, CURRENT_TIMESTAMP
                 WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE key = ?1 AND {LIVE})"
            ),
            set_etag: format!(
                "UPDATE {table} SET value = ?2, is_binary = ?3, etag = ?4, expiration_time = {expiry},
                 update_time = CURRENT_TIMESTAMP WHERE key = ?1 AND etag = ?6 AND {LIVE}"
            ),
            delete: format!("DELETE FROM {table} WHERE key = ?"),
            delete_etag: format!("DELETE FROM {table} WHERE key = ? AND etag = ?"),
            keys_like: format!(
                "SELECT key, rowid FROM {table} WHERE key LIKE ?1 ESCAPE '\\' AND {LIVE}
                 AND (?2 IS NULL OR rowid > CAST(?2 AS INTEGER)) ORDER BY rowid ASC LIMIT ?3"
            ),
        }
    }

    pub(super) fn get(&self, connection: &Connection, key: &str) -> Result<Option<Item>, Error> {
        let mut statement = connection.prepare_cached(&self.get).map_err(sql)?;
        let row = statement.query_row([key], |row| Ok(item(row))).optional().map_err(sql)?;
        row.transpose().map_err(Error::Other)
    }

    pub(super) fn bulk_get(
        &self,
        connection: &Connection,
        keys: Vec<String>,
    ) -> Result<Vec<BulkItem>, Error> {
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BULK_CHUNK) {
            let marks = vec!["?"; keys.len()].join(",");
            let mut statement = connection.prepare(&format!("{}({marks})", self.bulk_get)).map_err(sql)?;
            let mut rows = statement.query(params_from_iter(keys)).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                items.push(BulkItem { key: row.get(0).map_err(sql)?, result: item(row).map(Some) });
            }
        }
        if items.len() < keys.len() {
            let found: HashSet<String> = items.iter().map(|item| item.key.clone()).collect();
            let missing = keys.into_iter().filter(|key| !found.contains(key));
            items.extend(missing.map(|key| BulkItem { key, result: Ok(None) }));
        }
        Ok(items)
    }

    pub(super) fn set(&self, connection: &Connection, set: &PreparedSet) -> Result<(), Error> {
        let mut buffer = [0; Hyphenated::LENGTH];
        let new_etag = &*set.new_etag.hyphenated().encode_lower(&mut buffer);
        let value = set.value.as_text()?;
        let expiry = set.ttl.map(|seconds| format!("+{seconds} seconds"));
        let changed = match (&set.etag, set.first_write) {
            (Some(etag), _) => connection
                .prepare_cached(&self.set_etag)
                .and_then(|mut s| s.execute(params![set.key, value, set.is_binary, new_etag, expiry, etag])),
            (None, first) => {
                let text = if first { &self.set_first } else { &self.set };
                connection
                    .prepare_cached(text)
                    .and_then(|mut s| s.execute(params![set.key, value, set.is_binary, new_etag, expiry]))
            }
        };
        if changed.map_err(sql)? == 0 { Err(Error::EtagMismatch(String::new())) } else { Ok(()) }
    }

    pub(super) fn delete(&self, connection: &Connection, delete: &PreparedDelete) -> Result<(), Error> {
        let changed = match &delete.etag {
            Some(etag) => {
                connection.prepare_cached(&self.delete_etag).and_then(|mut s| s.execute([&delete.key, etag]))
            }
            None => connection.prepare_cached(&self.delete).and_then(|mut s| s.execute([&delete.key])),
        };
        let changed = changed.map_err(sql)?;
        if changed == 0 && delete.etag.is_some() {
            return Err(Error::EtagMismatch(String::new()));
        }
        Ok(())
    }

    pub(super) fn keys_like(
        &self,
        connection: &Connection,
        request: &KeysLikeRequest,
    ) -> Result<KeysPage, Error> {
        let limit = request.page_size.map_or(-1, i64::from);
        let mut statement = connection.prepare_cached(&self.keys_like).map_err(sql)?;
        let mut rows = statement.query(params![request.pattern, request.continuation, limit]).map_err(sql)?;
        let (mut keys, mut last) = (Vec::new(), 0_i64);
        while let Some(row) = rows.next().map_err(sql)? {
            keys.push(row.get(0).map_err(sql)?);
            last = row.get(1).map_err(sql)?;
        }
        let full = request.page_size.is_some_and(|size| size > 0 && keys.len() == size as usize);
        Ok(KeysPage { continuation: full.then(|| last.to_string()), keys })
    }
}

/// A row of [`COLUMNS`].
fn item(row: &Row<'_>) -> Result<Item, String> {
    let read = || -> rusqlite::Result<_> {
        let value = match row.get_ref(1)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
            _ => &[],
        };
        Ok((value, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    let (value, is_binary, etag, expires): (&[u8], bool, String, Option<String>) =
        read().map_err(|e| e.to_string())?;
    let data = if is_binary {
        STANDARD.decode(value).map_err(|e| format!("failed to decode binary data: {e}"))?.into()
    } else {
        Bytes::copy_from_slice(value)
    };
    let metadata = expires.map(|at| RequestMetadata::from([("ttlExpireTime".to_owned(), at)]));
    Ok(Item { data, etag: Some(etag), metadata: metadata.unwrap_or_default(), content_type: None })
}
