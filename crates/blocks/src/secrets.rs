//! Secrets: stores and the scopes that limit them (api.md §2.2).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dapr_components::secrets::{RequestMetadata, Secret, SecretStore};
use dapr_errors::{ApiError, secrets as errors};
use dapr_resources::configuration::SecretScope;

type Stores = HashMap<String, Arc<dyn SecretStore>>;

/// Secrets. Cloning shares it.
#[derive(Clone, Default)]
pub struct SecretsService(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stores: ArcSwap<Stores>,
    scopes: HashMap<String, SecretScope>,
}

impl SecretsService {
    pub fn new(scopes: impl IntoIterator<Item = SecretScope>) -> Self {
        let scopes = scopes.into_iter().map(|s| (s.store_name.clone(), s)).collect();
        Self(Arc::new(Inner { stores: ArcSwap::default(), scopes }))
    }

    pub fn add(&self, name: &str, store: Arc<dyn SecretStore>) {
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            next.insert(name.to_owned(), store.clone());
            next
        });
    }

    pub fn remove(&self, name: &str) -> Option<Arc<dyn SecretStore>> {
        let removed = self.0.stores.load().get(name).cloned();
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
        self.0.stores.load().get(name).cloned()
    }

    pub async fn get(&self, store: &str, key: &str, metadata: &RequestMetadata) -> Result<Secret, ApiError> {
        let found = self.store(store)?;
        if !self.allows(store, key) {
            return Err(errors::permission_denied(key, store));
        }
        found.get(key, metadata).await.map_err(|e| errors::get_failed(key, store, e))
    }

    pub async fn bulk_get(
        &self,
        store: &str,
        metadata: &RequestMetadata,
    ) -> Result<HashMap<String, Secret>, ApiError> {
        let found = self.store(store)?;
        let mut all = found.bulk_get(metadata).await.map_err(|e| errors::bulk_get_failed(store, e))?;
        if let Some(scope) = self.0.scopes.get(store) {
            all.retain(|name, _| scope.is_allowed(name));
        }
        Ok(all)
    }

    fn store(&self, name: &str) -> Result<Arc<dyn SecretStore>, ApiError> {
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
