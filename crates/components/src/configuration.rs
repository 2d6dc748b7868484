//! Configuration stores (components.md §7).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use dapr_kernel::Shutdown;

pub use crate::ttl::RequestMetadata;

/// One configuration item. An item that was deleted is all empty in an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub value: String,
    pub version: String,
    pub metadata: RequestMetadata,
}

/// Items by key.
pub type Items = BTreeMap<String, Item>;

/// Which items a caller reads or follows.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Empty means all.
    pub keys: Vec<String>,
    pub metadata: RequestMetadata,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Takes the changes of one subscription, one after another.
#[async_trait]
pub trait UpdateHandler: Send + Sync + 'static {
    async fn handle(&self, changed: Items);
}

/// A configuration store that is ready for use: constructors connect.
#[async_trait]
pub trait ConfigurationStore: Send + Sync + 'static {
    /// Keys that do not exist are left out.
    async fn get(&self, query: &Query) -> Result<Items, Error>;

    /// Returns once changes from now on will be noticed. The subscription ends
    /// when `stop` is given; a lost connection is mended by the store.
    async fn subscribe(
        &self,
        query: Query,
        stop: Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), Error>;

    /// How the store says that there is no such subscription.
    fn unknown_subscription(&self, id: &str) -> String {
        format!("subscription with id {id} does not exist")
    }

    async fn close(&self) {}
}
