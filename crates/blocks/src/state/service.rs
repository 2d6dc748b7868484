use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dapr_components::Properties;
use dapr_components::state::{
    BulkItem, DeleteRequest, Error, Feature, GetRequest, Item, KeyError, Operation, QueryResponse,
    RequestMetadata, SetRequest, StateStore, TransactionRequest,
};
use dapr_errors::{ApiError, state as errors};
use dapr_kernel::AppIdentity;
use dapr_resiliency::Policies;
use dapr_security::at_rest::Keys;
use dapr_telemetry::metrics::catalogue::Catalogue;

use super::encryption::Encryption;
use super::key::{IllegalKey, KeyPrefix};
use super::outbound::Outbound;
use crate::outbox::Outbox;
use crate::pubsub::Trace;

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub policies: Policies,
    pub metrics: Option<Arc<Catalogue>>,
    /// Publishes what transactions write, for the stores that it knows.
    pub outbox: Option<Outbox>,
}

/// A loaded store with the settings that the runtime applies to it.
#[derive(Clone)]
pub struct Store {
    pub name: Arc<str>,
    pub store: Arc<dyn StateStore>,
    pub prefix: KeyPrefix,
    outbound: Arc<Outbound>,
    encryption: Option<Encryption>,
    outbox: Option<Outbox>,
}

/// Why a call failed: the adapters differ in how they show an illegal key.
#[derive(Debug)]
pub enum StateError {
    IllegalKey { key: String, store: String },
    Api(ApiError),
}

impl From<ApiError> for StateError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl StateError {
    /// `nested` is the HTTP form of an illegal key (api.md §3.3).
    pub fn into_api(self, nested: bool) -> ApiError {
        match self {
            Self::Api(error) => error,
            Self::IllegalKey { key, store } => errors::illegal_key(&key, &store, nested),
        }
    }
}

type Stores = HashMap<String, Store>;

/// State management. Cloning shares it.
#[derive(Clone)]
pub struct StateService(Arc<Inner>);

struct Inner {
    options: Options,
    stores: ArcSwap<Stores>,
}

impl StateService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner { options, stores: ArcSwap::default() }))
    }

    /// Adds or replaces a store. With `keys` its values are encrypted.
    pub fn add(
        &self,
        name: &str,
        store: Arc<dyn StateStore>,
        properties: &Properties,
        keys: Option<Keys>,
    ) -> Result<(), IllegalKey> {
        let Options { identity, policies, metrics, outbox } = &self.0.options;
        let prefix = KeyPrefix::from_properties(properties, name, identity)?;
        let outbound = Arc::new(Outbound::new(name, policies, metrics.as_deref()));
        let loaded = Store {
            name: name.into(),
            store,
            prefix,
            outbound,
            encryption: keys.map(Encryption::new),
            outbox: outbox.clone(),
        };
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Option<Store> {
        let removed = self.0.stores.load().get(name).cloned();
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            next.remove(name);
            next
        });
        removed
    }

    /// `app_id` in the error's details: HTTP shows it.
    pub fn store(&self, name: &str, show_app: bool) -> Result<Store, ApiError> {
        let stores = self.0.stores.load();
        if let Some(store) = stores.get(name) {
            return Ok(store.clone());
        }
        let app = show_app.then(|| self.0.options.identity.app_id());
        Err(if stores.is_empty() { errors::not_configured(name, app) } else { errors::not_found(name, app) })
    }
}

impl Store {
    fn key(&self, key: &str) -> Result<String, StateError> {
        self.prefix
            .apply(key)
            .map_err(|IllegalKey(key)| StateError::IllegalKey { key, store: self.name.to_string() })
    }

    pub async fn get(&self, mut request: GetRequest) -> Result<Option<Item>, StateError> {
        let given = std::mem::take(&mut request.key);
        request.key = self.key(&given)?;
        let call = self.outbound.run(|| self.store.get(&request));
        let found = self.outbound.get.watch(call).await;
        let mut found = found.map_err(|e| with_rich(errors::get_failed(&given, &self.name, &e), &e))?;
        if let (Some(encryption), Some(item)) = (&self.encryption, &mut found) {
            encryption
                .open(&self.name, item)
                .map_err(|reason| errors::get_failed(&given, &self.name, reason))?;
        }
        Ok(found)
    }

    /// Whether values are encrypted before they are stored.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Every key gets an entry, named as the caller named it.
    pub async fn bulk_get(
        &self,
        keys: Vec<String>,
        metadata: &RequestMetadata,
        parallelism: i32,
    ) -> Result<Vec<BulkItem>, BulkGetError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut requests = Vec::with_capacity(keys.len());
        for key in &keys {
            let key = self.key(key).map_err(BulkGetError::Refused)?;
            requests.push(GetRequest { key, metadata: metadata.clone(), ..GetRequest::default() });
        }
        let parallelism = usize::try_from(parallelism).unwrap_or(0);
        let call = self.outbound.run(|| self.store.bulk_get(&requests, parallelism));
        let mut items = self.outbound.bulk_get.watch(call).await.map_err(BulkGetError::Store)?;
        for item in &mut items {
            item.key = KeyPrefix::strip(&item.key).to_owned();
            if let Some(encryption) = &self.encryption {
                encryption.open_bulk(&self.name, item);
            }
        }
        Ok(items)
    }

    pub async fn save(&self, mut items: Vec<SetRequest>) -> Result<(), StateError> {
        for item in &mut items {
            item.key = self.key(&item.key)?;
            self.seal(item);
        }
        if items.is_empty() {
            return Ok(());
        }
        let result = self.outbound.set.watch(self.outbound.write(&*self.store, items)).await;
        result.map_err(|e| with_rich(errors::save_failed(&self.name, failure(&e), flat(&e)), &e).into())
    }

    pub async fn delete(&self, mut request: DeleteRequest) -> Result<(), StateError> {
        let given = std::mem::take(&mut request.key);
        request.key = self.key(&given)?;
        let call = self.outbound.run(|| self.store.delete(&request));
        self.outbound
            .delete
            .watch(call)
            .await
            .map_err(|e| with_rich(errors::delete_failed(&given, failure(&e), &e), &e).into())
    }

    pub async fn bulk_delete(&self, mut items: Vec<DeleteRequest>) -> Result<(), StateError> {
        for item in &mut items {
            item.key = self.key(&item.key)?;
        }
        if items.is_empty() {
            return Ok(());
        }
        let result = self.outbound.bulk_delete.watch(self.outbound.write(&*self.store, items)).await;
        result
            .map_err(|e| with_rich(errors::bulk_delete_failed(&self.name, failure(&e), flat(&e)), &e).into())
    }

    pub async fn transact(
        &self,
        operations: Vec<Operation>,
        metadata: RequestMetadata,
        trace: Trace<'_>,
    ) -> Result<(), StateError> {
        self.check_transactional()?;
        if operations.is_empty() {
            return Ok(());
        }
        let mut prefixed = Vec::with_capacity(operations.len());
        for operation in operations {
            prefixed.push(match operation {
                Operation::Upsert(mut r) => {
                    r.key = self.key(&r.key)?;
                    Operation::Upsert(r)
                }
                Operation::Delete(mut r) => {
                    r.key = self.key(&r.key)?;
                    Operation::Delete(r)
                }
            });
        }
        if let Some(limit) = self.store.transaction_limit().await
            && prefixed.len() > limit
        {
            return Err(errors::too_many_transactions(&self.name, prefixed.len(), limit).into());
        }
        for operation in &mut prefixed {
            if let Operation::Upsert(request) = operation {
                self.seal(request);
            }
        }
        if let Some(outbox) = &self.outbox {
            let announced = outbox.publish(&self.name, prefixed, trace).await;
            prefixed = announced.map_err(|reason| dapr_errors::pubsub::outbox(outbox.app_id(), reason))?;
        }
        let request = TransactionRequest { operations: prefixed, metadata };
        let call = self.outbound.run(|| self.store.transact(&request));
        // Not in an error of the component's own: a transaction fails as a whole.
        self.outbound.transaction.watch(call).await.map_err(|e| errors::transaction_failed(&e).into())
    }

    /// Encrypts a value on its way into the store, if that is asked for.
    fn seal(&self, request: &mut SetRequest) {
        if let Some(encryption) = &self.encryption {
            request.value = encryption.seal(&request.value);
        }
    }

    pub fn check_transactional(&self) -> Result<(), StateError> {
        if self.store.features().contains(&Feature::Transactional) {
            Ok(())
        } else {
            Err(errors::transactions_not_supported(&self.name).into())
        }
    }

    pub async fn query(&self, query: &[u8], metadata: &RequestMetadata) -> Result<QueryResponse, StateError> {
        if !self.store.queryable() {
            return Err(errors::querying_not_supported(&self.name).into());
        }
        if self.is_encrypted() {
            return Err(errors::query_failed(&self.name, "cannot query encrypted store").into());
        }
        let call = self.outbound.run(|| self.store.query(query, metadata));
        let mut response = self
            .outbound
            .query
            .watch(call)
            .await
            .map_err(|e| own_error(&e).unwrap_or_else(|| errors::query_failed(&self.name, &e)))?;
        for item in &mut response.results {
            item.key = KeyPrefix::strip(&item.key).to_owned();
        }
        Ok(response)
    }
}

/// A bulk read refused before, or failed in, the store.
#[derive(Debug)]
pub enum BulkGetError {
    Refused(StateError),
    Store(Error),
}

/// The kind that decides the status; of several failures the first ETag one,
/// unless all are: then an invalid ETag outweighs a mismatch.
fn failure(error: &Error) -> errors::Failure {
    match error {
        Error::Bulk(keys) if keys.iter().all(|k| k.error.is_etag()) && has_invalid(keys) => {
            errors::Failure::EtagInvalid
        }
        Error::EtagMismatch(_) => errors::Failure::EtagMismatch,
        Error::EtagInvalid(_) => errors::Failure::EtagInvalid,
        Error::Bulk(keys) => keys
            .iter()
            .map(|k| failure(&k.error))
            .find(|f| *f != errors::Failure::Other)
            .unwrap_or(errors::Failure::Other),
        _ => errors::Failure::Other,
    }
}

fn has_invalid(keys: &[KeyError]) -> bool {
    keys.iter().any(|k| matches!(k.error, Error::EtagInvalid(_)))
}

/// The error that the message quotes: of several, the first ETag one; if all
/// are, they are one together.
fn flat(error: &Error) -> String {
    match error {
        Error::Bulk(keys) if !keys.is_empty() && keys.iter().all(|k| k.error.is_etag()) => {
            let all = error.to_string();
            let kind = if has_invalid(keys) { Error::EtagInvalid } else { Error::EtagMismatch };
            kind(all).to_string()
        }
        Error::Bulk(keys) => {
            keys.iter().find(|k| k.error.is_etag()).map_or_else(|| error.to_string(), |k| k.error.to_string())
        }
        other => other.to_string(),
    }
}

/// An error that brings its own status keeps it (api.md §2.1): over HTTP in the
/// words of the operation, over gRPC as it is.
fn with_rich(mut api: ApiError, error: &Error) -> ApiError {
    if let Some(own) = own_error(error) {
        api.http = own.http;
        api.code = own.code;
        api.own = Some(Box::new(own));
    }
    api
}

/// The error that a component made up itself, if it did.
pub fn own_error(error: &Error) -> Option<ApiError> {
    let Error::Rich { http, grpc, tag, message, domain, reason, .. } = error else { return None };
    let code = dapr_errors::Code::from_i32(*grpc);
    Some(errors::component_error(tag, *http, code, message, domain, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_conflicts_alone_are_one_together() {
        let bulk = Error::Bulk(vec![
            KeyError { key: "a".into(), error: Error::EtagMismatch("x".into()) },
            KeyError { key: "b".into(), error: Error::EtagInvalid("y".into()) },
        ]);
        assert_eq!(failure(&bulk), errors::Failure::EtagInvalid);
        let wanted =
            "invalid etag value: possible etag mismatch. error from state store: x\ninvalid etag value: y";
        assert_eq!(flat(&bulk), wanted);
    }

    #[test]
    fn one_etag_conflict_among_many_failures_decides() {
        let bulk = Error::Bulk(vec![
            KeyError { key: "a".into(), error: Error::other("x") },
            KeyError { key: "b".into(), error: Error::EtagMismatch(String::new()) },
        ]);
        assert_eq!(failure(&bulk), errors::Failure::EtagMismatch);
        assert_eq!(flat(&bulk), "possible etag mismatch. error from state store");
    }
}
