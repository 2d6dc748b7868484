//! `secretstores.kubernetes`: the secrets of the cluster (components.md §6).
//!
//! This crate must not know who may read which secret: the cluster's rules and
//! the secrets block do. Entry points: [`register`], [`KubernetesStore`].
#![forbid(unsafe_code)]

mod store;

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::description::{Description, Field};
use dapr_components::registry::Registry;
use dapr_components::secrets::SecretStore;

pub use store::KubernetesStore;

const DESCRIPTION: Description = Description::new(
    &["secretstores.kubernetes"],
    &[&[Field::text("defaultNamespace"), Field::text("kubeconfigPath")]],
);

/// Registers `secretstores.kubernetes`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&DESCRIPTION]);
    registry.secret_stores.register("secretstores.kubernetes", |context: InitContext| async move {
        // Where the cluster is, is for the environment to say.
        let store = KubernetesStore::new(&context, &|name| std::env::var(name).ok())?;
        Ok(Arc::new(store) as Arc<dyn SecretStore>)
    });
}
