//! Secrets: stores and the scopes that limit them (api.md §2.2).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dapr_components::secrets::{Error, RequestMetadata, Secret, SecretStore};
use dapr_errors::{ApiError, secrets as errors};
use dapr_resiliency::{Direction, Kind, Policies, Policy};
use dapr_resources::configuration::SecretScope;
use dapr_telemetry::metrics::catalogue::{Catalogue, operation};

use crate::observed::Meter;

/// What the service is built from.
#[derive(Clone, Default)]
pub struct Options {
    pub scopes: Vec<SecretScope>,
    pub policies: Policies,
    pub metrics: Option<Arc<Catalogue>>,
}

type Stores = HashMap<String, Arc<Loaded>>;

/// A store with what surrounds its calls.
struct Loaded {
    store: Arc<dyn SecretStore>,
    policy: Policy,
    get: Meter,
    bulk_get: Meter,
}

impl Loaded {
    async fn run<T, Fut>(&self, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.policy.call(call, |_| true, Error).await
    }
}

/// Secrets. Cloning shares it.
#[derive(Clone, Default)]
pub struct SecretsService(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stores: ArcSwap<Stores>,
    scopes: HashMap<String, SecretScope>,
    policies: Policies,
    metrics: Option<Arc<Catalogue>>,
}

impl SecretsService {
    pub fn new(options: Options) -> Self {
        let Options { scopes, policies, metrics } = options;
        let scopes = scopes.into_iter().map(|s| (s.store_name.clone(), s)).collect();
        Self(Arc::new(Inner { stores: ArcSwap::default(), scopes, policies, metrics }))
    }

    /// Adds or replaces a store.
    pub fn add(&self, name: &str, store: Arc<dyn SecretStore>) {
        let metrics = self.0.metrics.as_deref().map(|m| &m.components.secret);
        let loaded = Arc::new(Loaded {
            store,
            policy: self.0.policies.component(name, Kind::Secretstore, Direction::Outbound),
            get: Meter::new(metrics, name, operation::GET),
            bulk_get: Meter::new(metrics, name, operation::BULK_GET),
        });
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
    }

    pub fn remove(&self, name: &str) -> Option<Arc<dyn SecretStore>> {
        let removed = self.raw_store(name);
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            next.remove(name);
            next
        });
        removed
    }

    /// Stores that have a scope but do not exist.
    pub fn unmatched_scopes(&self) -> Vec<String> {
        let stores = self.0.stores.load();
        self.0.scopes.keys().filter(|name| !stores.contains_key(*name)).cloned().collect()
    }

    /// A store by name, for references in other resources; no scope applies.
    pub fn raw_store(&self, name: &str) -> Option<Arc<dyn SecretStore>> {
        self.0.stores.load().get(name).map(|l| l.store.clone())
    }

    pub async fn get(&self, store: &str, key: &str, metadata: &RequestMetadata) -> Result<Secret, ApiError> {
        let found = self.store(store)?;
        if !self.allows(store, key) {
            return Err(errors::permission_denied(key, store));
        }
        let call = found.run(|| found.store.get(key, metadata));
        found.get.watch(call).await.map_err(|e| errors::get_failed(key, store, e))
    }

    pub async fn bulk_get(
        &self,
        store: &str,
        metadata: &RequestMetadata,
    ) -> Result<HashMap<String, Secret>, ApiError> {
        let found = self.store(store)?;
        let call = found.run(|| found.store.bulk_get(metadata));
        let mut all = found.bulk_get.watch(call).await.map_err(|e| errors::bulk_get_failed(store, e))?;
        if let Some(scope) = self.0.scopes.get(store) {
            all.retain(|name, _| scope.is_allowed(name));
        }
        Ok(all)
    }

    fn store(&self, name: &str) -> Result<Arc<Loaded>, ApiError> {
        let stores = self.0.stores.load();
        if stores.is_empty() {
            return Err(errors::not_configured());
        }
        stores.get(name).cloned().ok_or_else(|| errors::store_not_found(name))
    }

    fn allows(&self, store: &str, key: &str) -> bool {
        self.0.scopes.get(store).is_none_or(|scope| scope.is_allowed(key))
    }
}
