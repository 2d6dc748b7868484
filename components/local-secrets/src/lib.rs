//! Secret stores without a server: a JSON file and the environment of the
//! process (components.md §6).
//!
//! This crate must not know who may read which secret: scopes and access lists
//! belong to the secrets block. Entry points: [`register`],
//! [`file::FileStore`], [`env::EnvStore`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::registry::Registry;
use dapr_components::secrets::SecretStore;

mod description;
pub mod env;
pub mod file;

/// Registers `secretstores.local.file` and `secretstores.local.env`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::FILE, &description::ENV]);
    registry.secret_stores.register("secretstores.local.file", |context: InitContext| async move {
        let store = file::FileStore::open(&context.properties).await?;
        Ok(Arc::new(store) as Arc<dyn SecretStore>)
    });
    registry.secret_stores.register("secretstores.local.env", |context: InitContext| async move {
        Ok(Arc::new(env::EnvStore::new(&context.properties)) as Arc<dyn SecretStore>)
    });
}
