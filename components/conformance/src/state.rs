//! State stores.

mod advanced;
mod basic;
mod keys;
pub mod request;

use std::sync::Arc;

use bytes::Bytes;
use dapr_components::state::{Feature, GetRequest, Item, SetRequest, StateStore, Value};

/// What a store supports. Everything that is off is checked to be absent from
/// the store's features.
#[derive(Clone, Debug)]
pub struct Config {
    pub transaction: bool,
    /// False for stores whose transactions keep what was written before the
    /// operation that failed.
    pub transaction_rolls_back: bool,
    pub etag: bool,
    pub first_write: bool,
    pub query: bool,
    pub ttl: bool,
    /// False for stores that expire items but do not tell when.
    pub ttl_expire_time: bool,
    /// Items without a TTL name the time of their writing as that of expiry.
    pub always_expire_time: bool,
    /// A write without TTL ends the TTL that the key had.
    pub write_clears_ttl: bool,
    /// A TTL of -1 ends the one that the key had. False for stores that make a
    /// short TTL of it.
    pub minus_one_is_never: bool,
    pub delete_with_prefix: bool,
    /// The suite then deletes every key of the store.
    pub keys_like: bool,
    /// An ETag of the store's form that no item has.
    pub bad_etag: String,
}

impl Default for Config {
    /// Everything but the query API and delete-with-prefix.
    fn default() -> Self {
        Self {
            transaction: true,
            transaction_rolls_back: true,
            etag: true,
            first_write: true,
            query: false,
            ttl: true,
            ttl_expire_time: true,
            always_expire_time: false,
            write_clears_ttl: true,
            minus_one_is_never: true,
            delete_with_prefix: false,
            keys_like: true,
            bad_etag: "bad-etag".to_owned(),
        }
    }
}

/// Runs the whole suite. Keys of other users survive unless
/// [`Config::keys_like`] is set.
pub async fn run(store: Arc<dyn StateStore>, config: &Config) {
    let suite = Suite { store, config, prefix: uuid::Uuid::new_v4().simple().to_string() };
    suite.features();
    suite.ping().await;
    suite.values().await;
    suite.bulk().await;
    if config.transaction {
        suite.transactions().await;
    }
    if config.etag {
        suite.etags().await;
    }
    if config.first_write {
        suite.first_write().await;
    }
    if config.query {
        suite.query().await;
    }
    if config.ttl {
        suite.ttl().await;
    }
    if config.delete_with_prefix {
        suite.delete_with_prefix().await;
    }
    if config.keys_like {
        suite.keys_like().await;
    }
}

struct Suite<'a> {
    store: Arc<dyn StateStore>,
    config: &'a Config,
    /// Fresh for every run, so that runs on a shared server do not meet.
    prefix: String,
}

fn json(text: &str) -> Value {
    Value::Json(Bytes::copy_from_slice(text.as_bytes()))
}

fn raw(data: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(data))
}

impl Suite<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn features(&self) {
        let expected = [
            (Feature::Transactional, self.config.transaction),
            (Feature::Etag, self.config.etag),
            (Feature::QueryApi, self.config.query),
            (Feature::Ttl, self.config.ttl),
            (Feature::DeleteWithPrefix, self.config.delete_with_prefix),
            (Feature::KeysLike, self.config.keys_like),
        ];
        for (feature, wanted) in expected {
            let listed = self.store.features().contains(&feature);
            assert_eq!(listed, wanted, "feature {} listed: {listed}, expected: {wanted}", feature.as_str());
        }
    }

    async fn ping(&self) {
        if let Err(e) = self.store.ping().await {
            assert_eq!(e.to_string(), "ping is not implemented by this state store");
        }
    }

    async fn get(&self, key: &str) -> Option<Item> {
        let request = GetRequest { key: key.to_owned(), ..Default::default() };
        self.store.get(&request).await.unwrap_or_else(|e| panic!("get {key}: {e}"))
    }

    async fn set(&self, request: &SetRequest) {
        self.store.set(request).await.unwrap_or_else(|e| panic!("set {}: {e}", request.key));
    }

    async fn expect(&self, key: &str, value: &Value) -> Item {
        let item = self.get(key).await.unwrap_or_else(|| panic!("{key} should exist"));
        assert_same(key, value, &item.data);
        item
    }

    async fn expect_absent(&self, key: &str) {
        let item = self.get(key).await;
        assert!(item.is_none(), "{key} should be gone, got {item:?}");
    }

    async fn etag_of(&self, key: &str) -> String {
        let item = self.get(key).await.unwrap_or_else(|| panic!("{key} should exist"));
        item.etag.filter(|e| !e.is_empty()).unwrap_or_else(|| panic!("{key} should have an ETag"))
    }
}

/// Bytes come back as they are; JSON may be formatted differently.
fn assert_same(key: &str, expected: &Value, got: &[u8]) {
    match expected {
        Value::Bytes(bytes) => assert_eq!(&bytes[..], got, "bytes of {key}"),
        Value::Json(text) => {
            let expected: serde_json::Value = serde_json::from_slice(text).expect("a suite's own JSON");
            let got: serde_json::Value = serde_json::from_slice(got)
                .unwrap_or_else(|e| panic!("{key} is not JSON ({e}): {}", String::from_utf8_lossy(got)));
            assert_eq!(expected, got, "value of {key}");
        }
    }
}
