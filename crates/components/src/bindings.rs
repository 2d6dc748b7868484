//! Bindings: events from outside into the application, and calls from the
//! application to the outside (components.md §5).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_kernel::Shutdown;

pub use crate::ttl::RequestMetadata;

#[derive(Clone, Debug, Default)]
pub struct InvokeRequest {
    pub data: Bytes,
    pub metadata: RequestMetadata,
    /// Lower-case as the caller gave it, such as `create`.
    pub operation: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvokeResponse {
    /// `None` answers 204 over HTTP.
    pub data: Option<Bytes>,
    pub metadata: RequestMetadata,
    pub content_type: Option<String>,
}

/// A failed call. Data and metadata still reach the caller (api.md §2.4).
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("{message}")]
pub struct InvokeError {
    pub message: String,
    pub response: InvokeResponse,
}

impl InvokeError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), response: InvokeResponse::default() }
    }
}

#[async_trait]
pub trait OutputBinding: Send + Sync + 'static {
    /// Operation names, in the order that an error lists them.
    fn operations(&self) -> &[&str];

    async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError>;

    async fn close(&self) {}
}

/// An event that an input binding brings.
#[derive(Clone, Debug, Default)]
pub struct ReadEvent {
    pub data: Bytes,
    pub metadata: RequestMetadata,
    pub content_type: Option<String>,
}

#[async_trait]
pub trait EventHandler: Send + Sync + 'static {
    /// Answers with what the application answered; an error means that the
    /// event was not taken.
    async fn handle(&self, event: ReadEvent) -> Result<Option<Bytes>, String>;
}

#[async_trait]
pub trait InputBinding: Send + Sync + 'static {
    /// Returns once reading has begun; it ends when `stop` is given.
    async fn read(&self, stop: Shutdown, handler: Arc<dyn EventHandler>) -> Result<(), String>;

    async fn close(&self) {}
}
