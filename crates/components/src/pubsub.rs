//! Message buses (components.md §4).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_kernel::Shutdown;

pub use crate::ttl::RequestMetadata;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    MessageTtl,
    SubscribeWildcards,
    BulkPubSub,
    BulkSubscribeImmediate,
}

impl Feature {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageTtl => "MESSAGE_TTL",
            Self::SubscribeWildcards => "SUBSCRIBE_WILDCARDS",
            Self::BulkPubSub => "BULK_PUBSUB",
            Self::BulkSubscribeImmediate => "BULK_SUBSCRIBE_IMMEDIATE",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PublishRequest {
    pub topic: String,
    pub data: Bytes,
    pub metadata: RequestMetadata,
    pub content_type: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct SubscribeRequest {
    pub topic: String,
    pub metadata: RequestMetadata,
}

/// A message that a broker delivers.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub topic: String,
    pub data: Bytes,
    pub metadata: RequestMetadata,
    pub content_type: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The component is gone for good; retrying is useless.
    #[error("component is closed")]
    Closed,
    /// A transport failure that a retry may mend.
    #[error("{0}")]
    Retriable(String),
    #[error("{0}")]
    Other(String),
    /// The broker's answer with its gRPC status code, which retry policies may
    /// look at.
    #[error("{message}")]
    Status { code: i32, message: String },
}

impl Error {
    /// The gRPC status code that the broker gave, if it did.
    pub fn grpc_code(&self) -> Option<i32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Closed | Self::Retriable(_) | Self::Other(_) => None,
        }
    }
}

/// Why a handler did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Handling failed for good as far as the runtime's policies go; the
    /// component decides (redeliver, drop, nack) as its kind does.
    #[error("{0}")]
    Failed(String),
    /// The runtime is stopping: neither acknowledge nor reject.
    #[error("subscription is closing")]
    Cancelled,
}

/// Takes messages of one subscription.
#[async_trait]
pub trait MessageHandler: Send + Sync + 'static {
    /// `Ok` acknowledges. The component may drop the future when its own
    /// processing time is over.
    async fn handle(&self, message: Message) -> Result<(), HandlerError>;
}

/// One entry of a bulk publish.
#[derive(Clone, Debug, Default)]
pub struct BulkEntry {
    pub entry_id: String,
    pub event: Bytes,
    pub content_type: String,
    pub metadata: RequestMetadata,
}

#[derive(Clone, Debug, Default)]
pub struct BulkPublishRequest {
    pub topic: String,
    pub entries: Vec<BulkEntry>,
    pub metadata: RequestMetadata,
}

/// An entry of a bulk publish that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEntry {
    pub entry_id: String,
    pub error: String,
}

/// A message bus that is ready for use: constructors connect.
#[async_trait]
pub trait PubSub: Send + Sync + 'static {
    fn features(&self) -> &[Feature];

    /// Returns once the broker has accepted the message.
    async fn publish(&self, request: PublishRequest) -> Result<(), Error>;

    /// `None` when the bus has no bulk operation of its own; the runtime then
    /// publishes entry by entry.
    async fn bulk_publish(&self, _request: &BulkPublishRequest) -> Option<Result<Vec<FailedEntry>, Error>> {
        None
    }

    /// Returns once the subscription stands. It ends when `stop` is given:
    /// no handler is called after that, running ones may finish and their
    /// messages are settled.
    async fn subscribe(
        &self,
        request: SubscribeRequest,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), Error>;

    /// Asks the broker for no more messages while those in hand are still
    /// handed over and acknowledged: the instance is about to go. Returns once
    /// all were handed over, if the bus can tell; the caller limits the time.
    async fn pause(&self) {}

    /// Whether messages live in this instance only, so that a replacement must
    /// be subscribed before the first message is published to it.
    fn is_volatile(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), Error> {
        Err(Error::Other("ping is not implemented by this pubsub".to_owned()))
    }

    async fn close(&self) {}
}
