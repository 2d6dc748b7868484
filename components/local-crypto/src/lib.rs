//! Crypto providers that compute in this process, with keys from a folder or
//! from a JSON Web Key Set (components.md §9).
//!
//! This crate must not know the encryption scheme or any API: it finds keys
//! by name and wraps other keys with them. Entry points: [`register`],
//! [`folder::Folder`], [`jwks::Jwks`], [`provider::Provider`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::crypto::CryptoProvider;
use dapr_components::registry::Registry;

mod description;
pub mod folder;
pub mod jwks;
pub mod provider;

use provider::Provider;

/// Registers `crypto.dapr.localstorage` and `crypto.dapr.jwks`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::FOLDER, &description::JWKS]);
    registry.crypto.register("crypto.dapr.localstorage", |context: InitContext| async move {
        let keys = folder::Folder::open(&context.properties).await?;
        Ok(Arc::new(Provider::new(keys)) as Arc<dyn CryptoProvider>)
    });
    registry.crypto.register("crypto.dapr.jwks", |context: InitContext| async move {
        let keys = jwks::Jwks::open(&context.properties, &context.tasks).await?;
        Ok(Arc::new(Provider::new(keys)) as Arc<dyn CryptoProvider>)
    });
}
