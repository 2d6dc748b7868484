//! Calls of a store: under its outbound policy, counted and timed.

use std::collections::HashSet;

use dapr_components::state::{DeleteRequest, Error, KeyError, SetRequest, StateStore};
use dapr_resiliency::{Direction, Kind, Policies, Policy};
use dapr_telemetry::metrics::catalogue::{Catalogue, operation};
use parking_lot::Mutex;

use crate::observed::Meter;

/// What surrounds every call of one store.
pub(super) struct Outbound {
    policy: Policy,
    pub get: Meter,
    pub set: Meter,
    pub delete: Meter,
    pub query: Meter,
    pub transaction: Meter,
    pub bulk_get: Meter,
    pub bulk_delete: Meter,
}

impl Outbound {
    pub fn new(store: &str, policies: &Policies, metrics: Option<&Catalogue>) -> Self {
        let meter = |operation| Meter::new(metrics.map(|m| &m.components.state), store, operation);
        Self {
            policy: policies.component(store, Kind::Statestore, Direction::Outbound),
            get: meter(operation::GET),
            set: meter(operation::SET),
            delete: meter(operation::DELETE),
            query: meter(operation::QUERY),
            transaction: meter(operation::TRANSACTION),
            bulk_get: meter(operation::BULK_GET),
            bulk_delete: meter(operation::BULK_DELETE),
        }
    }

    /// Makes a call under the policy. ETag failures are final: the same
    /// request can only fail again.
    pub async fn run<T, Fut>(&self, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.policy.call(call, retriable, Error::other).await
    }

    /// Writes items under the policy; retries send only those that failed for
    /// another reason than their ETag.
    pub async fn write<W: Write>(&self, store: &dyn StateStore, items: Vec<W>) -> Result<(), Error> {
        if self.policy.is_none() {
            return W::write(store, &items).await;
        }
        let left = Mutex::new(items);
        let conflicts = Mutex::new(Vec::new());
        let outcome = self
            .run(|| async {
                let items = left.lock().clone();
                let Err(error) = W::write(store, &items).await else { return Ok(()) };
                let Error::Bulk(failed) = error else { return Err(error) };
                let (etag, again): (Vec<_>, Vec<_>) = failed.into_iter().partition(|f| f.error.is_etag());
                if again.is_empty() {
                    return Err(Error::Bulk(etag));
                }
                let keys: HashSet<&str> = again.iter().map(|f| f.key.as_str()).collect();
                left.lock().retain(|item| keys.contains(item.key()));
                conflicts.lock().extend(etag);
                Err(Error::Bulk(again))
            })
            .await;
        with_conflicts(outcome, conflicts.into_inner())
    }
}

/// Conflicts of earlier attempts are not forgotten when what was left of the
/// write succeeds.
fn with_conflicts(outcome: Result<(), Error>, mut conflicts: Vec<KeyError>) -> Result<(), Error> {
    match outcome {
        outcome if conflicts.is_empty() => outcome,
        Ok(()) => Err(Error::Bulk(conflicts)),
        Err(Error::Bulk(failed)) => {
            conflicts.extend(failed);
            Err(Error::Bulk(conflicts))
        }
        Err(other) => {
            conflicts.push(KeyError { key: String::new(), error: other });
            Err(Error::Bulk(conflicts))
        }
    }
}

/// An item of a bulk write.
pub(super) trait Write: Clone + Send + Sync {
    fn key(&self) -> &str;

    /// One item goes through the store's single operation.
    fn write(store: &dyn StateStore, items: &[Self]) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Write for SetRequest {
    fn key(&self) -> &str {
        &self.key
    }

    async fn write(store: &dyn StateStore, items: &[Self]) -> Result<(), Error> {
        match items {
            [one] => store.set(one).await,
            many => store.bulk_set(many).await,
        }
    }
}

impl Write for DeleteRequest {
    fn key(&self) -> &str {
        &self.key
    }

    async fn write(store: &dyn StateStore, items: &[Self]) -> Result<(), Error> {
        match items {
            [one] => store.delete(one).await,
            many => store.bulk_delete(many).await,
        }
    }
}

/// ETags that do not match now will not match later.
fn retriable(error: &Error) -> bool {
    match error {
        Error::Bulk(failed) => failed.iter().any(|f| !f.error.is_etag()),
        other => !other.is_etag(),
    }
}
