//! `state.etcd` (components.md §3.8).
//!
//! Every conditional write is one transaction of etcd's, so that nothing can
//! come between the comparison of an ETag and the write.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::state::{
    Concurrency, DeleteRequest, Error, Feature, GetRequest, Item, KeysLikeRequest, KeysPage, Operation,
    RequestMetadata, SetRequest, StateStore, TransactionRequest,
};
use dapr_components::ttl::state_ttl;
use dapr_components::{InitContext, InitError};

use crate::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::request_op::Request;
use crate::api::response_op::Response;
use crate::api::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseOp, TxnRequest};
use crate::client::{Client, Failure};
use crate::keys;
pub use crate::layout::Layout;
use crate::settings::Settings;

const FEATURES: &[Feature] = &[Feature::Etag, Feature::Transactional, Feature::Ttl, Feature::KeysLike];

/// One component. It starts without a server: connections come with requests.
pub struct EtcdStore {
    client: Client,
    /// With its final `/`.
    base: String,
    layout: Layout,
    max_transaction: usize,
}

impl EtcdStore {
    pub fn open(context: &InitContext, layout: Layout) -> Result<Self, InitError> {
        let settings = Settings::parse(&context.properties)?;
        Ok(Self {
            client: Client::new(&settings, &context.tasks)?,
            base: format!("{}/", settings.prefix),
            layout,
            max_transaction: settings.max_transaction,
        })
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    /// The write, and the lease that was granted for it (0: none).
    async fn put(&self, path: &str, request: &SetRequest) -> Result<PutRequest, Error> {
        let ttl = ttl_seconds(&request.metadata)?;
        let lease = match ttl {
            None => 0,
            Some(ttl) => {
                let granted = self.client.grant(ttl).await;
                granted.map_err(|e| Error::other(format!("couldn't grant lease {path}: {e}")))?
            }
        };
        let value = self.layout.encode(request.value.as_bytes(), ttl, SystemTime::now());
        Ok(PutRequest { key: bytes_of(path), value, lease })
    }

    /// A lease that keeps nothing alive. It would end by itself.
    async fn give_back(&self, lease: i64) {
        if lease != 0
            && let Err(error) = self.client.revoke(lease).await
        {
            tracing::debug!(target: "dapr.contrib", "couldn't revoke lease {lease}: {error}");
        }
    }

    /// All `writes` if every check holds, otherwise none.
    async fn write_if(&self, checks: &[Check], writes: Vec<Request>, failed: Wrap<'_>) -> Result<(), Error> {
        let request = TxnRequest {
            compare: checks.iter().map(Check::compare).collect(),
            success: writes.into_iter().map(operation).collect(),
            failure: checks.iter().map(|check| operation(check.look())).collect(),
        };
        let answer = self.client.transact(request).await.map_err(|e| failed(&e))?;
        if answer.succeeded { Ok(()) } else { Err(first_mismatch(checks, answer.responses)) }
    }
}

/// Says of which write a failure is.
type Wrap<'a> = &'a (dyn Fn(&Failure) -> Error + Sync);

#[async_trait]
impl StateStore for EtcdStore {
    fn features(&self) -> &[Feature] {
        FEATURES
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        let path = self.path(&request.key);
        let range = RangeRequest { key: bytes_of(&path), ..RangeRequest::default() };
        let answer = self.client.range(range).await;
        let answer = answer.map_err(|e| Error::other(format!("couldn't get key {path}: {e}")))?;
        let Some(found) = answer.kvs.into_iter().next() else { return Ok(None) };
        let (data, metadata) = self.layout.decode(found.value)?;
        Ok(Some(Item { data, etag: Some(found.mod_revision.to_string()), metadata, content_type: None }))
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        let path = self.path(&request.key);
        let failed = |e: &Failure| Error::other(format!("couldn't set key {path}: {e}"));
        let put = self.put(&path, request).await?;
        let lease = put.lease;
        let written = match Check::of(&path, request.etag(), request.concurrency) {
            None => self.client.put(put).await.map_err(|e| failed(&e)),
            Some(check) => self.write_if(&[check], vec![Request::RequestPut(put)], &failed).await,
        };
        if matches!(&written, Err(Error::EtagMismatch(_))) {
            self.give_back(lease).await;
        }
        written
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        let path = self.path(&request.key);
        let failed = |e: &Failure| Error::other(format!("couldn't delete key {path}: {e}"));
        let delete = DeleteRangeRequest { key: bytes_of(&path) };
        match Check::of(&path, request.etag(), request.concurrency) {
            None => self.client.delete(delete).await.map_err(|e| failed(&e)),
            Some(check) => self.write_if(&[check], vec![Request::RequestDeleteRange(delete)], &failed).await,
        }
    }

    /// ETags are compared with the state before the transaction. Of several
    /// operations on a key the last is what remains, and etcd takes one only.
    async fn transact(&self, request: &TransactionRequest) -> Result<(), Error> {
        let (mut checks, mut leases) = (Vec::new(), Vec::new());
        let mut writes: Vec<(String, Request)> = Vec::with_capacity(request.operations.len());
        for operation in &request.operations {
            let path = self.path(operation.key());
            let (etag, concurrency) = match operation {
                Operation::Upsert(set) => (set.etag(), set.concurrency),
                Operation::Delete(delete) => (delete.etag(), delete.concurrency),
            };
            checks.extend(Check::of(&path, etag, concurrency));
            let write = match operation {
                Operation::Upsert(set) => {
                    let put = self.put(&path, set).await?;
                    leases.push(put.lease);
                    Request::RequestPut(put)
                }
                Operation::Delete(_) => {
                    Request::RequestDeleteRange(DeleteRangeRequest { key: bytes_of(&path) })
                }
            };
            match writes.iter_mut().find(|(written, _)| *written == path) {
                Some((_, earlier)) => *earlier = write,
                None => writes.push((path, write)),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let writes = writes.into_iter().map(|(_, write)| write).collect();
        let written = self.write_if(&checks, writes, &|e| Error::other(e.0.clone())).await;
        if matches!(&written, Err(Error::EtagMismatch(_))) {
            futures::future::join_all(leases.into_iter().map(|lease| self.give_back(lease))).await;
        }
        written
    }

    fn max_transaction_size(&self) -> Option<usize> {
        Some(self.max_transaction)
    }

    async fn keys_like(&self, request: &KeysLikeRequest) -> Result<KeysPage, Error> {
        keys::page(&self.client, &self.base, request).await
    }
}

/// What must be true of a key for a write to happen.
struct Check {
    path: String,
    /// `None`: the key must not exist.
    etag: Option<String>,
}

impl Check {
    fn of(path: &str, etag: Option<&str>, concurrency: Concurrency) -> Option<Self> {
        let wanted = etag.is_some() || concurrency == Concurrency::FirstWrite;
        wanted.then(|| Self { path: path.to_owned(), etag: etag.map(str::to_owned) })
    }

    /// 0 is the revision of a key that does not exist, and none has -1.
    fn revision(&self) -> i64 {
        let Some(etag) = &self.etag else { return 0 };
        match etag.parse::<i64>() {
            Ok(revision) if revision > 0 && revision.to_string() == *etag => revision,
            _ => -1,
        }
    }

    fn compare(&self) -> Compare {
        Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: bytes_of(&self.path),
            target_union: Some(TargetUnion::ModRevision(self.revision())),
        }
    }

    /// Asks for what there is instead.
    fn look(&self) -> Request {
        let key = bytes_of(&self.path);
        Request::RequestRange(RangeRequest { key, keys_only: true, ..RangeRequest::default() })
    }

    /// Why the check fails for a key of this revision, 0 for none.
    fn mismatch(&self, current: i64) -> Option<Error> {
        if current == self.revision() {
            return None;
        }
        let path = &self.path;
        Some(Error::EtagMismatch(match &self.etag {
            None => "item already exists and no etag was passed".to_owned(),
            Some(_) if current == 0 => format!("state not exist or expired for key={path}"),
            Some(etag) => format!("state etag not match for key={path}: current={current}, expect={etag}"),
        }))
    }
}

fn first_mismatch(checks: &[Check], found: Vec<ResponseOp>) -> Error {
    let revisions = found.into_iter().map(|response| match response.response {
        Some(Response::ResponseRange(range)) => range.kvs.first().map_or(0, |item| item.mod_revision),
        _ => 0,
    });
    let mut mismatches = checks.iter().zip(revisions).filter_map(|(check, found)| check.mismatch(found));
    mismatches.next().unwrap_or_else(|| Error::EtagMismatch(String::new()))
}

fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn bytes_of(path: &str) -> Bytes {
    Bytes::copy_from_slice(path.as_bytes())
}

/// `None` when there is none. The server makes its shortest TTL of -1 and 0.
fn ttl_seconds(metadata: &RequestMetadata) -> Result<Option<i64>, Error> {
    state_ttl(metadata).map_err(Error::other)?;
    let text = metadata.get("ttlInSeconds").filter(|text| !text.is_empty());
    Ok(text.and_then(|text| text.parse().ok()))
}
