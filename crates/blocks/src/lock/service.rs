use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dapr_components::Properties;
use dapr_components::lock::{Error, LockStore, UnlockStatus};
use dapr_errors::{ApiError, lock as errors};
use dapr_kernel::AppIdentity;
use dapr_resiliency::{Direction, Kind, Policies, Policy};

use super::key::LockPrefix;
use crate::state::IllegalKey;

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub policies: Policies,
}

struct Loaded {
    store: Arc<dyn LockStore>,
    prefix: LockPrefix,
    policy: Policy,
}

impl Loaded {
    async fn run<T, Fut>(&self, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.policy.call(call, |_| true, Error::new).await
    }
}

/// Distributed locks. Cloning shares it.
#[derive(Clone)]
pub struct LockService(Arc<Inner>);

struct Inner {
    options: Options,
    stores: ArcSwap<HashMap<String, Arc<Loaded>>>,
}

impl LockService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner { options, stores: ArcSwap::default() }))
    }

    /// Adds or replaces a store; `properties` say how resources are prefixed.
    pub fn add(
        &self,
        name: &str,
        store: Arc<dyn LockStore>,
        properties: &Properties,
    ) -> Result<(), IllegalKey> {
        let Options { identity, policies } = &self.0.options;
        let loaded = Arc::new(Loaded {
            store,
            prefix: LockPrefix::from_properties(properties, name, identity)?,
            policy: policies.component(name, Kind::Lock, Direction::Outbound),
        });
        self.0.stores.rcu(|stores| {
            let mut next = HashMap::clone(stores);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Option<Arc<dyn LockStore>> {
        let removed = self.0.stores.load().get(name).map(|loaded| loaded.store.clone());
        self.0.stores.rcu(|stores| {
            let mut next = HashMap::clone(stores);
            next.remove(name);
            next
        });
        removed
    }

    /// Whether `owner` got the lock for so many seconds.
    pub async fn try_lock(
        &self,
        store: &str,
        resource: &str,
        owner: &str,
        expiry_seconds: i32,
    ) -> Result<bool, ApiError> {
        let seconds = u64::try_from(expiry_seconds).unwrap_or(0);
        if seconds == 0 {
            return Err(errors::expiry_not_positive(store));
        }
        let found = self.store(store, resource, owner)?;
        let key = found.prefix.apply(resource).map_err(errors::try_lock_failed)?;
        let expiry = Duration::from_secs(seconds);
        found.run(|| found.store.try_lock(&key, owner, expiry)).await.map_err(errors::try_lock_failed)
    }

    pub async fn unlock(&self, store: &str, resource: &str, owner: &str) -> Result<UnlockStatus, ApiError> {
        let found = self.store(store, resource, owner)?;
        let key = found.prefix.apply(resource).map_err(errors::unlock_failed)?;
        found.run(|| found.store.unlock(&key, owner)).await.map_err(errors::unlock_failed)
    }

    /// Checks in the contract's order.
    fn store(&self, name: &str, resource: &str, owner: &str) -> Result<Arc<Loaded>, ApiError> {
        let stores = self.0.stores.load();
        if stores.is_empty() {
            return Err(errors::not_configured());
        }
        if resource.is_empty() {
            return Err(errors::empty_resource(name));
        }
        if owner.is_empty() {
            return Err(errors::empty_owner(name));
        }
        stores.get(name).cloned().ok_or_else(|| errors::store_not_found(name))
    }
}
