//! Secret references of resources (runtime.md §3.3).

use std::collections::HashMap;
use std::sync::Arc;

use dapr_blocks::secrets::SecretsService;
use dapr_components::secrets::{RequestMetadata, Secret};
use dapr_resources::metadata::SecretRef;
use dapr_resources::{Component, HttpEndpoint, KUBERNETES_SECRET_STORE, Resource};

use super::SCOPE;

/// Request metadata that says in which namespace a secret is.
const NAMESPACE: &str = "namespace";

/// Who puts secrets in the place of references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretRefs {
    /// We do, from the store that a resource names.
    #[default]
    Stores,
    /// The operator did, base64-encoded, for the store of the cluster, which is
    /// also the one for resources that name none.
    Operator,
}

impl SecretRefs {
    /// The store of a component; empty for none.
    pub fn store_of(self, component: &Component) -> &str {
        component.secret_store(self == Self::Operator)
    }

    /// Whether a component has to wait for a store that is not there.
    pub fn is_without_store(self, component: &Component, secrets: &SecretsService) -> bool {
        let store = self.store_of(component);
        !component.secret_refs().is_empty()
            && !store.is_empty()
            && !self.are_in_place(store)
            && secrets.raw_store(store).is_none()
    }

    fn are_in_place(self, store: &str) -> bool {
        self == Self::Operator && store == KUBERNETES_SECRET_STORE
    }

    /// The component with what its references stand for.
    pub async fn resolve(self, mut component: Component, secrets: &SecretsService) -> Component {
        let store = self.store_of(&component);
        if self.are_in_place(store) {
            report(component.decode_inlined_secrets(), &component);
            return component;
        }
        let fetched = fetch(secrets, store, component.namespace(), &component.secret_refs()).await;
        component.with_secrets(|r| fetched.get(&(r.secret.clone(), r.key.clone())).cloned())
    }

    /// The endpoint with what its references stand for.
    pub async fn resolve_endpoint(
        self,
        mut endpoint: HttpEndpoint,
        secrets: &SecretsService,
    ) -> HttpEndpoint {
        let store = endpoint.secret_store(self == Self::Operator);
        if self.are_in_place(store) {
            report(endpoint.decode_inlined_secrets(), &endpoint);
            return endpoint;
        }
        let fetched = fetch(secrets, store, endpoint.namespace(), &endpoint.secret_refs()).await;
        endpoint.with_secrets(|r| fetched.get(&(r.secret.clone(), r.key.clone())).cloned())
    }
}

fn report<T: Resource>(problems: Vec<String>, resource: &T) {
    for problem in problems {
        tracing::error!(target: SCOPE, "{} {}: {problem}", T::KIND, resource.log_name());
    }
}

/// (secret, key) -> value.
type Fetched = HashMap<(String, String), String>;

/// The values that references ask for; what cannot be had is logged and left
/// out.
async fn fetch(secrets: &SecretsService, store: &str, namespace: &str, refs: &[SecretRef]) -> Fetched {
    let mut out = Fetched::new();
    if refs.is_empty() {
        return out;
    }
    let Some(found) = secrets.raw_store(store) else { return out };
    let metadata = RequestMetadata::from([(NAMESPACE.to_owned(), namespace.to_owned())]);
    let mut cache: HashMap<&str, Arc<Secret>> = HashMap::new();
    for reference in refs {
        let secret = match cache.get(reference.secret.as_str()) {
            Some(secret) => secret.clone(),
            None => match found.get(&reference.secret, &metadata).await {
                Ok(secret) => {
                    let secret = Arc::new(secret);
                    cache.insert(&reference.secret, secret.clone());
                    secret
                }
                Err(error) => {
                    tracing::error!(target: SCOPE, "Error getting secret: {error}");
                    continue;
                }
            },
        };
        if let Some(value) = secret.get(&reference.key) {
            out.insert((reference.secret.clone(), reference.key.clone()), value.clone());
        }
    }
    out
}
