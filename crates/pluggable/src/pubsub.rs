use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::pubsub::{
    BulkPublishRequest, Error, FailedEntry, Feature, HandlerError, Message, MessageHandler, PubSub,
    PublishRequest, SubscribeRequest,
};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_wire::components::v1 as wire;
use dapr_wire::components::v1::pub_sub_client::PubSubClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::connection::{Connection, metadata};
use crate::errors;

const SCOPE: &str = "dapr.runtime.pubsub";
/// Acknowledgements on their way; the next message waits for room.
const ACK_QUEUE: usize = 16;
/// How long a component may take to end a stream that was closed.
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a component may take to pause.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A message bus in another process.
pub struct PluggablePubSub {
    name: Arc<str>,
    connection: Connection,
    client: PubSubClient<Connection>,
    features: Vec<Feature>,
    tasks: TaskGroup,
}

impl PluggablePubSub {
    pub async fn open(socket: &Path, context: InitContext) -> Result<Self, InitError> {
        let connection = Connection::open(socket, &context).await?;
        let mut client = PubSubClient::new(connection.clone());
        client.init(wire::PubSubInitRequest { metadata: metadata(&context) }).await.map_err(errors::init)?;
        let reported = client.features(wire::FeaturesRequest {}).await.map_err(errors::init)?.into_inner();
        let features = reported.features.iter().filter_map(|f| feature(f)).collect();
        Ok(Self { name: context.name, connection, client, features, tasks: context.tasks })
    }
}

fn feature(reported: &str) -> Option<Feature> {
    use Feature::{BulkPubSub, BulkSubscribeImmediate, MessageTtl, SubscribeWildcards};
    [MessageTtl, SubscribeWildcards, BulkPubSub, BulkSubscribeImmediate]
        .into_iter()
        .find(|f| f.as_str() == reported)
}

#[async_trait]
impl PubSub for PluggablePubSub {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The content type stays here: components read it from the envelope.
    async fn publish(&self, request: PublishRequest) -> Result<(), Error> {
        let request = wire::PublishRequest {
            data: request.data,
            pubsub_name: self.name.to_string(),
            topic: request.topic,
            metadata: request.metadata,
            content_type: String::new(),
        };
        self.client.clone().publish(request).await.map_err(errors::publish)?;
        Ok(())
    }

    async fn bulk_publish(&self, request: &BulkPublishRequest) -> Option<Result<Vec<FailedEntry>, Error>> {
        if !self.features.contains(&Feature::BulkPubSub) {
            return None;
        }
        let entries = request.entries.iter().map(|entry| wire::BulkMessageEntry {
            entry_id: entry.entry_id.clone(),
            event: entry.event.clone(),
            content_type: entry.content_type.clone(),
            metadata: entry.metadata.clone(),
        });
        let request = wire::BulkPublishRequest {
            topic: request.topic.clone(),
            pubsub_name: self.name.to_string(),
            entries: entries.collect(),
            metadata: request.metadata.clone(),
        };
        let answer = self.client.clone().bulk_publish(request).await.map_err(errors::publish);
        Some(answer.map(|answer| {
            let failed = answer.into_inner().failed_entries.into_iter();
            failed.map(|entry| FailedEntry { entry_id: entry.entry_id, error: entry.error }).collect()
        }))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), Error> {
        self.connection.dial().await.map_err(|e| Error::Other(format!("unable to subscribe: {e}")))?;
        let (acks, requests) = mpsc::channel(ACK_QUEUE);
        let topic = wire::Topic { name: request.topic.clone(), metadata: request.metadata };
        let first = wire::PullMessagesRequest { topic: Some(topic), ..Default::default() };
        acks.try_send(first).map_err(|_| Error::Other("unable to subscribe: no room".to_owned()))?;
        let pull = Pull { client: self.client.clone(), topic: request.topic, acks, stop, handler };
        self.tasks.spawn("pluggable pubsub stream", pull.run(requests));
        Ok(())
    }

    async fn pause(&self) {
        let mut client = self.client.clone();
        match tokio::time::timeout(PAUSE_TIMEOUT, client.pause(wire::PauseRequest {})).await {
            Ok(Ok(_)) => {}
            // Optional: the streams are closed soon anyway.
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {}
            Ok(Err(status)) => {
                tracing::warn!(target: SCOPE, "Failed to pause pubsub {}: {}", self.name, errors::text(&status));
            }
            Err(_) => {
                tracing::warn!(target: SCOPE, "Failed to pause pubsub {}: it did not answer", self.name)
            }
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        self.client.clone().ping(wire::PingRequest {}).await.map_err(|s| Error::Other(errors::text(&s)))?;
        Ok(())
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

/// One stream of messages of one topic.
struct Pull {
    client: PubSubClient<Connection>,
    topic: String,
    acks: mpsc::Sender<wire::PullMessagesRequest>,
    stop: Shutdown,
    handler: Arc<dyn MessageHandler>,
}

impl Pull {
    async fn run(mut self, requests: mpsc::Receiver<wire::PullMessagesRequest>) {
        // A component may answer with headers only once it has a message.
        let opening = self.client.pull_messages(ReceiverStream::new(requests));
        let mut messages = match self.stop.guard(opening).await {
            None => return,
            Some(Ok(response)) => response.into_inner(),
            Some(Err(status)) => return self.broken(&status),
        };
        loop {
            match self.stop.guard(messages.message()).await {
                None => break,
                Some(Ok(Some(message))) => self.handle(message).await,
                Some(Ok(None)) => return,
                Some(Err(status)) => return self.broken(&status),
            }
        }
        drop(self.acks);
        end(messages).await;
    }

    fn broken(&self, status: &Status) {
        tracing::error!(
            target: SCOPE,
            "Failed to receive pubsub message of topic {}: {}",
            self.topic,
            errors::text(status)
        );
    }

    /// A message in hand is settled even if the stop comes meanwhile, unless
    /// the handler gave it up because of the stop.
    async fn handle(&self, message: wire::PullMessagesResponse) {
        let (id, topic) = (message.id, message.topic_name.clone());
        let event = Message {
            topic: message.topic_name,
            data: message.data,
            metadata: message.metadata,
            content_type: Some(message.content_type).filter(|t| !t.is_empty()),
        };
        let ack_error = match self.handler.handle(event).await {
            Ok(()) => None,
            Err(HandlerError::Cancelled) => return,
            Err(HandlerError::Failed(message)) => {
                tracing::error!(target: SCOPE, "error when handling message on topic {topic}: {message}");
                Some(wire::AckMessageError { message })
            }
        };
        let ack = wire::PullMessagesRequest { topic: None, ack_message_id: id.clone(), ack_error };
        if self.acks.send(ack).await.is_err() {
            tracing::error!(target: SCOPE, "error when ack'ing message {id} from topic {topic}");
        }
    }
}

/// Waits for the component to see the end of our side, so that the last
/// acknowledgement is not lost with the connection. What it still sends is
/// not acknowledged and so comes again.
async fn end(mut messages: Streaming<wire::PullMessagesResponse>) {
    let ended = async { while let Ok(Some(_)) = messages.message().await {} };
    let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
}
