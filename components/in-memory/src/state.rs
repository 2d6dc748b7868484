//! `state.in-memory` (components.md §3.1).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::like::Pattern;
use dapr_components::state::{
    self, BulkItem, Concurrency, DeleteRequest, Error, Feature, GetRequest, Item, KeysLikeRequest, KeysPage,
    Operation, RequestMetadata, SetRequest, TransactionRequest,
};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use parking_lot::RwLock;
use tokio::sync::Notify;
use uuid::fmt::Hyphenated;

const FEATURES: &[Feature] =
    &[Feature::Etag, Feature::Transactional, Feature::Ttl, Feature::DeleteWithPrefix, Feature::KeysLike];

/// How long an expired item may stay visible to `keys_like`.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Up to this size a value is copied on its way in. What arrives is mostly a
/// view into a connection's read buffer, which it would keep alive whole.
const COPY_LIMIT: usize = 16 * 1024;

/// Overwritten items may leave this many entries in the expiry queue, beyond
/// twice the number of items, before it is rebuilt.
const STALE_EXPIRIES: usize = 1024;

/// One independent map per instance.
pub struct StateStore {
    shared: Arc<Shared>,
    stop: Shutdown,
}

struct Shared {
    items: RwLock<Items>,
    /// Wakes the sweeper when the first expiring item arrives.
    expiring: Notify,
}

#[derive(Default)]
struct Items {
    by_key: HashMap<Arc<str>, Stored>,
    /// Grows with every write; orders `keys_like`.
    next_index: u64,
    /// Soonest expiry first. An entry whose index no longer is the item's
    /// belongs to an overwritten value.
    expiries: BinaryHeap<Reverse<(SystemTime, u64, Arc<str>)>>,
}

struct Stored {
    data: Bytes,
    etag: uuid::Uuid,
    index: u64,
    expires: Option<SystemTime>,
}

impl Stored {
    fn is_expired(&self, now: impl FnOnce() -> SystemTime) -> bool {
        self.expires.is_some_and(|at| now() > at)
    }

    fn to_item(&self) -> Item {
        Item {
            data: self.data.clone(),
            etag: Some(self.etag.hyphenated().to_string()),
            metadata: self.expires.map(state::expiry_metadata).unwrap_or_default(),
            content_type: None,
        }
    }
}

impl StateStore {
    /// An empty store. Its sweeper runs in `tasks`, until the store is closed
    /// or dropped.
    pub fn new(tasks: &TaskGroup) -> Self {
        let shared = Arc::new(Shared { items: RwLock::default(), expiring: Notify::new() });
        let stop = tasks.shutdown().child();
        let (sweeping, until) = (shared.clone(), stop.clone());
        tasks.spawn("in-memory-state-sweeper", async move { until.guard(sweep_forever(&sweeping)).await });
        Self { shared, stop }
    }
}

impl Drop for StateStore {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

async fn sweep_forever(shared: &Shared) {
    loop {
        if shared.items.read().expiries.is_empty() {
            shared.expiring.notified().await;
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
        shared.items.write().sweep(SystemTime::now());
    }
}

impl Items {
    fn sweep(&mut self, now: SystemTime) {
        while let Some(Reverse((expires, ..))) = self.expiries.peek() {
            if now <= *expires {
                break;
            }
            let Some(Reverse((_, index, key))) = self.expiries.pop() else { break };
            if self.by_key.get(&key).is_some_and(|item| item.index == index) {
                self.by_key.remove(&key);
            }
        }
    }

    /// Expired items that were not swept yet still count as existing.
    fn check(&self, key: &str, etag: Option<&str>, concurrency: Concurrency) -> Result<(), Error> {
        match (etag, self.by_key.get(key)) {
            (None, Some(_)) if concurrency == Concurrency::FirstWrite => {
                Err(Error::EtagMismatch("item already exists and no etag was passed".to_owned()))
            }
            (None, _) => Ok(()),
            (Some(_), None) => Err(Error::EtagMismatch(format!("state not exist or expired for key={key}"))),
            (Some(expected), Some(item)) => {
                let mut buffer = [0; Hyphenated::LENGTH];
                let current = item.etag.hyphenated().encode_lower(&mut buffer);
                if current == expected {
                    return Ok(());
                }
                Err(Error::EtagMismatch(format!(
                    "state etag not match for key={key}: current={current}, expect={expected}"
                )))
            }
        }
    }

    fn put(&mut self, key: &str, data: Bytes, ttl: Option<Duration>) {
        let index = self.next_index;
        self.next_index += 1;
        let expires = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
        let etag = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        let stored = Stored { data, etag, index, expires };
        let key: Arc<str> = match self.by_key.get_key_value(key) {
            Some((existing, _)) => existing.clone(),
            None => Arc::from(key),
        };
        if let Some(expires) = expires {
            self.expiries.push(Reverse((expires, index, key.clone())));
        }
        self.by_key.insert(key, stored);
        if self.expiries.len() > 2 * self.by_key.len() + STALE_EXPIRIES {
            let Self { by_key, expiries, .. } = self;
            expiries.retain(|Reverse((_, index, key))| by_key.get(key).is_some_and(|i| i.index == *index));
        }
    }
}

/// A value that is safe to keep, see [`COPY_LIMIT`].
fn owned(data: &Bytes) -> Bytes {
    if data.len() <= COPY_LIMIT { Bytes::copy_from_slice(data) } else { data.clone() }
}

/// Own reading of `ttlInSeconds`: zero and less mean "never expires".
fn ttl(metadata: &RequestMetadata) -> Result<Option<Duration>, Error> {
    let Some(text) = metadata.get("ttlInSeconds").filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(seconds) => Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs)),
        Err(e) => {
            let reason = match e.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Err(Error::other(format!("strconv.Atoi: parsing {text:?}: {reason}")))
        }
    }
}

#[async_trait]
impl state::StateStore for StateStore {
    fn features(&self) -> &[Feature] {
        FEATURES
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        {
            let items = self.shared.items.read();
            match items.by_key.get(request.key.as_str()) {
                None => return Ok(None),
                Some(item) if !item.is_expired(SystemTime::now) => return Ok(Some(item.to_item())),
                Some(_) => {}
            }
        }
        let mut items = self.shared.items.write();
        // Another write may have come in between.
        match items.by_key.get(request.key.as_str()) {
            Some(item) if !item.is_expired(SystemTime::now) => Ok(Some(item.to_item())),
            Some(_) => {
                items.by_key.remove(request.key.as_str());
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn bulk_get(&self, requests: &[GetRequest], _parallelism: usize) -> Result<Vec<BulkItem>, Error> {
        let now = SystemTime::now();
        let items = self.shared.items.read();
        let found = requests.iter().map(|request| BulkItem {
            key: request.key.clone(),
            result: Ok(items
                .by_key
                .get(request.key.as_str())
                .filter(|item| !item.is_expired(|| now))
                .map(Stored::to_item)),
        });
        Ok(found.collect())
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        let ttl = ttl(&request.metadata)?;
        let data = owned(request.value.as_bytes());
        let mut items = self.shared.items.write();
        items.check(&request.key, request.etag(), request.concurrency)?;
        items.put(&request.key, data, ttl);
        drop(items);
        if ttl.is_some() {
            self.shared.expiring.notify_one();
        }
        Ok(())
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        let mut items = self.shared.items.write();
        items.check(&request.key, request.etag(), request.concurrency)?;
        items.by_key.remove(request.key.as_str());
        Ok(())
    }

    /// ETags are compared with the state before the transaction, even for keys
    /// that an earlier operation of it changes.
    async fn transact(&self, request: &TransactionRequest) -> Result<(), Error> {
        let mut prepared = Vec::with_capacity(request.operations.len());
        for operation in &request.operations {
            prepared.push(match operation {
                Operation::Upsert(set) => Some((owned(set.value.as_bytes()), ttl(&set.metadata)?)),
                Operation::Delete(_) => None,
            });
        }
        let expiring = prepared.iter().flatten().any(|(_, ttl)| ttl.is_some());
        let mut items = self.shared.items.write();
        for operation in &request.operations {
            match operation {
                Operation::Upsert(set) => items.check(&set.key, set.etag(), set.concurrency)?,
                Operation::Delete(delete) => items.check(&delete.key, delete.etag(), delete.concurrency)?,
            }
        }
        for (operation, prepared) in request.operations.iter().zip(prepared) {
            match prepared {
                Some((data, ttl)) => items.put(operation.key(), data, ttl),
                None => {
                    items.by_key.remove(operation.key());
                }
            }
        }
        drop(items);
        if expiring {
            self.shared.expiring.notify_one();
        }
        Ok(())
    }

    async fn delete_with_prefix(&self, prefix: &str) -> Result<u64, Error> {
        let prefix = state::prefix_to_delete(prefix)?;
        let mut items = self.shared.items.write();
        let before = items.by_key.len();
        items.by_key.retain(|key, _| key.strip_prefix(&*prefix).is_none_or(|rest| rest.contains("||")));
        Ok((before - items.by_key.len()) as u64)
    }

    /// The token is the insertion index of the next page's first key. Expired
    /// items are listed until they are swept.
    async fn keys_like(&self, request: &KeysLikeRequest) -> Result<KeysPage, Error> {
        request.check()?;
        let pattern = Pattern::new(&request.pattern);
        let from: u64 = match &request.continuation {
            Some(token) => {
                token.parse().map_err(|e| Error::other(format!("invalid continue token: {token:?}: {e}")))?
            }
            None => 0,
        };
        let items = self.shared.items.read();
        let mut found: Vec<(u64, &Arc<str>)> = items
            .by_key
            .iter()
            .filter(|(key, item)| item.index >= from && pattern.matches(key))
            .map(|(key, item)| (item.index, key))
            .collect();
        found.sort_unstable_by_key(|(index, _)| *index);
        let mut continuation = None;
        if let Some(size) = request.page_size.map(|size| size as usize)
            && let Some((index, _)) = found.get(size)
        {
            continuation = Some(index.to_string());
            found.truncate(size);
        }
        Ok(KeysPage { keys: found.into_iter().map(|(_, key)| key.to_string()).collect(), continuation })
    }

    async fn close(&self) {
        self.stop.trigger();
        *self.shared.items.write() = Items::default();
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::state::{StateStore as _, Value};

    use super::*;

    fn store() -> StateStore {
        StateStore::new(&TaskGroup::new(Shutdown::new()))
    }

    fn set(key: &str) -> SetRequest {
        SetRequest::new(key, Value::Bytes(Bytes::from_static(b"v")))
    }

    #[tokio::test]
    async fn etag_errors_name_key_and_both_etags() {
        let store = store();
        let mut request = set("k");
        request.etag = Some("x".to_owned());
        let error = store.set(&request).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "possible etag mismatch. error from state store: state not exist or expired for key=k"
        );
        store.set(&set("k")).await.unwrap();
        let current =
            store.get(&GetRequest { key: "k".into(), ..Default::default() }).await.unwrap().unwrap();
        let current = current.etag.unwrap();
        assert_eq!(
            store.set(&request).await.unwrap_err(),
            Error::EtagMismatch(format!("state etag not match for key=k: current={current}, expect=x"))
        );
    }

    #[tokio::test]
    async fn a_transaction_checks_etags_against_the_state_before_it() {
        let store = store();
        store.set(&set("a")).await.unwrap();
        let etag =
            store.get(&GetRequest { key: "a".into(), ..Default::default() }).await.unwrap().unwrap().etag;
        let delete = DeleteRequest { key: "a".into(), etag: etag.clone(), ..Default::default() };
        let mut again = set("a");
        again.etag = etag;
        let request = TransactionRequest {
            operations: vec![Operation::Delete(delete.clone()), Operation::Upsert(again)],
            ..Default::default()
        };
        store.transact(&request).await.unwrap();
        // The old ETag is gone, so that nothing of a second try is applied.
        let request = TransactionRequest {
            operations: vec![Operation::Upsert(set("b")), Operation::Delete(delete)],
            ..Default::default()
        };
        assert!(store.transact(&request).await.unwrap_err().is_etag());
        assert_eq!(store.get(&GetRequest { key: "b".into(), ..Default::default() }).await.unwrap(), None);
    }

    #[tokio::test]
    async fn overwriting_moves_a_key_to_the_end_and_tokens_include_their_key() {
        let store = store();
        for key in ["a", "b", "c", "a"] {
            store.set(&set(key)).await.unwrap();
        }
        let mut request = KeysLikeRequest { pattern: "%".into(), page_size: Some(2), continuation: None };
        let page = store.keys_like(&request).await.unwrap();
        assert_eq!(page.keys, ["b", "c"]);
        assert_eq!(page.continuation.as_deref(), Some("3"));
        request.continuation = page.continuation;
        let page = store.keys_like(&request).await.unwrap();
        assert_eq!((page.keys, page.continuation), (vec!["a".to_owned()], None));
        request.continuation = Some("nope".into());
        let error = store.keys_like(&request).await.unwrap_err().to_string();
        assert!(error.starts_with("invalid continue token: "), "{error}");
    }

    #[tokio::test]
    async fn overwriting_an_expiring_key_does_not_pile_up_expiries() {
        let store = store();
        let mut request = set("k");
        request.metadata.insert("ttlInSeconds".into(), "3600".into());
        for _ in 0..(3 * STALE_EXPIRIES) {
            store.set(&request).await.unwrap();
        }
        assert!(store.shared.items.read().expiries.len() <= STALE_EXPIRIES + 2);
    }

    #[tokio::test]
    async fn ttl_texts() {
        let store = store();
        let mut request = set("k");
        for (text, error) in [
            ("foo", "strconv.Atoi: parsing \"foo\": invalid syntax"),
            ("99999999999999999999", "strconv.Atoi: parsing \"99999999999999999999\": value out of range"),
        ] {
            request.metadata.insert("ttlInSeconds".into(), text.into());
            assert_eq!(store.set(&request).await.unwrap_err().to_string(), error);
        }
        for text in ["-5", "0", ""] {
            request.metadata.insert("ttlInSeconds".into(), text.into());
            store.set(&request).await.unwrap();
            let item =
                store.get(&GetRequest { key: "k".into(), ..Default::default() }).await.unwrap().unwrap();
            assert!(item.metadata.is_empty());
        }
    }

    #[tokio::test]
    async fn the_sweeper_removes_only_what_really_expired() {
        let store = store();
        let mut request = set("k");
        request.metadata.insert("ttlInSeconds".into(), "1".into());
        store.set(&request).await.unwrap();
        store.set(&set("k")).await.unwrap();
        let late = SystemTime::now() + Duration::from_secs(10);
        store.shared.items.write().sweep(late);
        assert!(store.shared.items.read().by_key.contains_key("k"));
        store.set(&request).await.unwrap();
        store.shared.items.write().sweep(late);
        assert!(!store.shared.items.read().by_key.contains_key("k"));
    }
}
