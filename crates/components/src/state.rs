//! State stores (components.md §1.5, §3). Keys arrive already prefixed.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::time::SystemTime;

pub use crate::ttl::RequestMetadata;

/// What a store can do, as the metadata API spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    Etag,
    Transactional,
    QueryApi,
    Ttl,
    DeleteWithPrefix,
    PartitionKey,
    KeysLike,
}

impl Feature {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Etag => "ETAG",
            Self::Transactional => "TRANSACTIONAL",
            Self::QueryApi => "QUERY_API",
            Self::Ttl => "TTL",
            Self::DeleteWithPrefix => "DELETE_WITH_PREFIX",
            Self::PartitionKey => "PARTITION_KEY",
            Self::KeysLike => "KEYS_LIKE",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    #[default]
    Unspecified,
    FirstWrite,
    LastWrite,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    #[default]
    Unspecified,
    Eventual,
    Strong,
}

/// A value on its way into a store. Stores that mark binary values (SQL) need
/// to know which of the two it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes to be returned as they are.
    Bytes(Bytes),
    /// JSON text in Go's encoding: what an HTTP caller sent, re-encoded.
    Json(Bytes),
}

impl Value {
    /// The bytes that a later read answers with.
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Bytes(b) | Self::Json(b) => b,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct GetRequest {
    pub key: String,
    pub metadata: RequestMetadata,
    pub consistency: Consistency,
}

/// A stored item. `data` may be empty without the item being missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub data: Bytes,
    pub etag: Option<String>,
    /// Response metadata, `ttlExpireTime` among it.
    pub metadata: RequestMetadata,
    pub content_type: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SetRequest {
    pub key: String,
    pub value: Value,
    /// `None` and the empty string both mean "no ETag given".
    pub etag: Option<String>,
    pub metadata: RequestMetadata,
    pub concurrency: Concurrency,
    pub consistency: Consistency,
    pub content_type: Option<String>,
}

impl SetRequest {
    pub fn new(key: impl Into<String>, value: Value) -> Self {
        Self {
            key: key.into(),
            value,
            etag: None,
            metadata: RequestMetadata::new(),
            concurrency: Concurrency::Unspecified,
            consistency: Consistency::Unspecified,
            content_type: None,
        }
    }

    /// The ETag to compare with, if the caller gave a non-empty one.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|e| !e.is_empty())
    }
}

#[derive(Clone, Debug, Default)]
pub struct DeleteRequest {
    pub key: String,
    pub etag: Option<String>,
    pub metadata: RequestMetadata,
    pub concurrency: Concurrency,
    pub consistency: Consistency,
}

impl DeleteRequest {
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|e| !e.is_empty())
    }
}

/// One item of a bulk read: found, missing (`Ok(None)`) or failed.
#[derive(Clone, Debug)]
pub struct BulkItem {
    pub key: String,
    pub result: Result<Option<Item>, String>,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Upsert(SetRequest),
    Delete(DeleteRequest),
}

impl Operation {
    pub fn key(&self) -> &str {
        match self {
            Self::Upsert(r) => &r.key,
            Self::Delete(r) => &r.key,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct TransactionRequest {
    pub operations: Vec<Operation>,
    pub metadata: RequestMetadata,
}

/// Why a store refused or failed. The two ETag kinds become 409 and 400.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("possible etag mismatch. error from state store{}", cause(.0))]
    EtagMismatch(String),
    #[error("invalid etag value{}", cause(.0))]
    EtagInvalid(String),
    /// Per-key failures of a bulk write, in no order; keys without an entry
    /// were written.
    #[error("{}", join(.0))]
    Bulk(Vec<KeyError>),
    /// An error that brings its own HTTP status and tag (api.md §2.1).
    #[error("api error: code = {grpc_name} desc = {message}")]
    Rich {
        http: u16,
        grpc: i32,
        grpc_name: String,
        tag: String,
        message: String,
        domain: String,
        reason: String,
    },
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }

    pub fn is_etag(&self) -> bool {
        matches!(self, Self::EtagMismatch(_) | Self::EtagInvalid(_))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeyError {
    pub key: String,
    pub error: Error,
}

fn cause(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn join(errors: &[KeyError]) -> String {
    errors.iter().map(|e| e.error.to_string()).collect::<Vec<_>>().join("\n")
}

/// A page of keys that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysPage {
    pub keys: Vec<String>,
    /// Opaque, store-specific; `None` on the last page.
    pub continuation: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct KeysLikeRequest {
    /// SQL LIKE pattern with `%`, `_` and `\` as escape.
    pub pattern: String,
    pub page_size: Option<u32>,
    pub continuation: Option<String>,
}

impl KeysLikeRequest {
    /// Refuses an empty pattern, with the text that callers know.
    pub fn check(&self) -> Result<(), Error> {
        if self.pattern.is_empty() { Err(Error::other("keys like pattern cannot be empty")) } else { Ok(()) }
    }
}

/// The prefix of a delete-with-prefix request with its final `||`; an empty
/// one is refused.
pub fn prefix_to_delete(prefix: &str) -> Result<std::borrow::Cow<'_, str>, Error> {
    match prefix {
        "" | "||" => Err(Error::other("a prefix is required for deleteWithPrefix request")),
        _ if prefix.ends_with("||") => Ok(prefix.into()),
        _ => Ok(format!("{prefix}||").into()),
    }
}

/// Result of the query API: raw items plus a token for the next page.
#[derive(Clone, Debug, Default)]
pub struct QueryResponse {
    pub results: Vec<QueryItem>,
    pub token: String,
    pub metadata: RequestMetadata,
}

#[derive(Clone, Debug, Default)]
pub struct QueryItem {
    pub key: String,
    pub data: Bytes,
    pub etag: Option<String>,
    pub error: String,
}

/// A state store that is ready for use: constructors connect.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    fn features(&self) -> &[Feature];

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error>;
    async fn set(&self, request: &SetRequest) -> Result<(), Error>;
    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error>;

    /// Every requested key gets one entry. The default asks for each key,
    /// `parallelism` at a time (0: all at once), and keeps the order.
    async fn bulk_get(&self, requests: &[GetRequest], parallelism: usize) -> Result<Vec<BulkItem>, Error> {
        let limit = if parallelism == 0 { requests.len().max(1) } else { parallelism };
        let reads = requests.iter().map(|request| async move {
            BulkItem { key: request.key.clone(), result: self.get(request).await.map_err(|e| e.to_string()) }
        });
        Ok(futures::stream::iter(reads.collect::<Vec<_>>()).buffered(limit).collect().await)
    }

    /// Fails with [`Error::Bulk`] naming the keys that failed.
    async fn bulk_set(&self, requests: &[SetRequest]) -> Result<(), Error> {
        let writes = requests.iter().map(|r| async move { (r.key.clone(), self.set(r).await) });
        collect_bulk(futures::future::join_all(writes).await)
    }

    async fn bulk_delete(&self, requests: &[DeleteRequest]) -> Result<(), Error> {
        let deletes = requests.iter().map(|r| async move { (r.key.clone(), self.delete(r).await) });
        collect_bulk(futures::future::join_all(deletes).await)
    }

    /// All or nothing, in order. Only called when [`Feature::Transactional`]
    /// is listed.
    async fn transact(&self, _request: &TransactionRequest) -> Result<(), Error> {
        Err(Error::other("transactions are not supported by this state store"))
    }

    /// Most operations that one transaction may hold, if the store has a limit.
    fn max_transaction_size(&self) -> Option<usize> {
        None
    }

    /// The same for a store that has to be asked first. Called before each
    /// transaction, so the answer is worth keeping.
    async fn transaction_limit(&self) -> Option<usize> {
        self.max_transaction_size()
    }

    /// Whether queries may be tried.
    fn queryable(&self) -> bool {
        self.features().contains(&Feature::QueryApi)
    }

    /// `query` is the request body as sent. Only called when
    /// [`StateStore::queryable`] says so.
    async fn query(&self, _query: &[u8], _metadata: &RequestMetadata) -> Result<QueryResponse, Error> {
        Err(Error::other("state store does not support querying"))
    }

    /// Number of keys deleted. Only with [`Feature::DeleteWithPrefix`].
    async fn delete_with_prefix(&self, _prefix: &str) -> Result<u64, Error> {
        Err(Error::other("deleteWithPrefix is not supported by this state store"))
    }

    /// Only with [`Feature::KeysLike`].
    async fn keys_like(&self, _request: &KeysLikeRequest) -> Result<KeysPage, Error> {
        Err(Error::other("keysLike is not supported by this state store"))
    }

    async fn ping(&self) -> Result<(), Error> {
        Err(Error::other("ping is not implemented by this state store"))
    }

    async fn close(&self) {}
}

fn collect_bulk(results: Vec<(String, Result<(), Error>)>) -> Result<(), Error> {
    let failed: Vec<_> =
        results.into_iter().filter_map(|(key, r)| r.err().map(|error| KeyError { key, error })).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::Bulk(failed)) }
}

/// Response metadata of an item that expires.
pub fn expiry_metadata(expires: SystemTime) -> RequestMetadata {
    RequestMetadata::from([("ttlExpireTime".to_owned(), dapr_gocompat::time::rfc3339(expires))])
}
