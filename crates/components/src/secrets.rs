//! Secret stores (components.md §6).

use std::collections::HashMap;

use async_trait::async_trait;

pub use crate::ttl::RequestMetadata;

/// The one feature a secret store can have.
pub const MULTIPLE_KEY_VALUES_PER_SECRET: &str = "MULTIPLE_KEY_VALUES_PER_SECRET";

/// Key-value pairs of one secret.
pub type Secret = HashMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

#[async_trait]
pub trait SecretStore: Send + Sync + 'static {
    fn features(&self) -> &[&'static str] {
        &[]
    }

    async fn get(&self, name: &str, metadata: &RequestMetadata) -> Result<Secret, Error>;

    async fn bulk_get(&self, metadata: &RequestMetadata) -> Result<HashMap<String, Secret>, Error>;

    async fn close(&self) {}
}
