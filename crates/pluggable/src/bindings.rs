use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::bindings::{
    EventHandler, InputBinding, InvokeError, InvokeRequest, InvokeResponse, OutputBinding, ReadEvent,
};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_wire::components::v1 as wire;
use dapr_wire::components::v1::input_binding_client::InputBindingClient;
use dapr_wire::components::v1::output_binding_client::OutputBindingClient;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::connection::{Connection, metadata};
use crate::errors;
use crate::names::Names;

const SCOPE: &str = "dapr.runtime.bindings";
/// Answers on their way; handlers that are done wait for room.
const REPLY_QUEUE: usize = 16;
/// Events that the application has in hand; more are read when one is done.
const MAX_CONCURRENT_EVENTS: usize = 1024;
/// How long a component may take to end a stream that was closed.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// An output binding in another process.
pub struct PluggableOutput {
    connection: Connection,
    client: OutputBindingClient<Connection>,
    operations: Vec<&'static str>,
}

impl PluggableOutput {
    pub async fn open(socket: &Path, context: &InitContext, names: &Names) -> Result<Self, InitError> {
        let connection = Connection::open(socket, context).await?;
        let mut client = OutputBindingClient::new(connection.clone());
        client
            .init(wire::OutputBindingInitRequest { metadata: metadata(context) })
            .await
            .map_err(errors::init)?;
        let listed = client.list_operations(wire::ListOperationsRequest {}).await.map_err(errors::init)?;
        Ok(Self { connection, client, operations: names.keep(listed.into_inner().operations) })
    }
}

#[async_trait]
impl OutputBinding for PluggableOutput {
    fn operations(&self) -> &[&str] {
        &self.operations
    }

    async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let request = wire::InvokeRequest {
            data: request.data,
            metadata: request.metadata,
            operation: request.operation,
        };
        let answer = self.client.clone().invoke(request).await;
        let answer = answer.map_err(|s| InvokeError::new(errors::text(&s)))?.into_inner();
        Ok(InvokeResponse {
            data: Some(answer.data).filter(|d| !d.is_empty()),
            metadata: answer.metadata,
            content_type: Some(answer.content_type).filter(|t| !t.is_empty()),
        })
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

/// An input binding in another process.
pub struct PluggableInput {
    connection: Connection,
    client: InputBindingClient<Connection>,
    tasks: TaskGroup,
}

impl PluggableInput {
    pub async fn open(socket: &Path, context: InitContext) -> Result<Self, InitError> {
        let connection = Connection::open(socket, &context).await?;
        let mut client = InputBindingClient::new(connection.clone());
        let request = wire::InputBindingInitRequest { metadata: metadata(&context) };
        client.init(request).await.map_err(errors::init)?;
        Ok(Self { connection, client, tasks: context.tasks })
    }
}

#[async_trait]
impl InputBinding for PluggableInput {
    async fn read(&self, stop: Shutdown, handler: Arc<dyn EventHandler>) -> Result<(), String> {
        self.connection.dial().await.map_err(|e| format!("unable to read from binding: {e}"))?;
        let (replies, requests) = mpsc::channel(REPLY_QUEUE);
        let reader = Reader { client: self.client.clone(), replies, stop, handler };
        self.tasks.spawn("pluggable input binding stream", reader.run(requests));
        Ok(())
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

/// The stream of one input binding.
struct Reader {
    client: InputBindingClient<Connection>,
    replies: mpsc::Sender<wire::ReadRequest>,
    stop: Shutdown,
    handler: Arc<dyn EventHandler>,
}

impl Reader {
    async fn run(mut self, requests: mpsc::Receiver<wire::ReadRequest>) {
        // A component may answer with headers only once it has an event.
        let opening = self.client.read(ReceiverStream::new(requests));
        let mut events = match self.stop.guard(opening).await {
            None => return,
            Some(Ok(response)) => response.into_inner(),
            Some(Err(status)) => return broken(&status),
        };
        let mut running = FuturesUnordered::new();
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.wait() => break,
                Some(()) = running.next() => continue,
                event = events.message(), if running.len() < MAX_CONCURRENT_EVENTS => event,
            };
            match event {
                Ok(Some(event)) => running.push(handle(&*self.handler, &self.replies, event)),
                Ok(None) => return,
                Err(status) => return broken(&status),
            }
        }
        while running.next().await.is_some() {}
        drop(running);
        drop(self.replies);
        let ended = async { while let Ok(Some(_)) = events.message().await {} };
        let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
    }
}

fn broken(status: &Status) {
    tracing::error!(target: SCOPE, "failed to receive binding message: {}", errors::text(status));
}

async fn handle(
    handler: &dyn EventHandler,
    replies: &mpsc::Sender<wire::ReadRequest>,
    event: wire::ReadResponse,
) {
    let message_id = event.message_id;
    let read = ReadEvent {
        data: event.data,
        metadata: event.metadata,
        content_type: Some(event.content_type).filter(|t| !t.is_empty()),
    };
    let (response_data, response_error) = match handler.handle(read).await {
        Ok(data) => (data.unwrap_or_default(), None),
        Err(message) => {
            tracing::error!(target: SCOPE, "error when handling message {message_id}: {message}");
            (Default::default(), Some(wire::AckResponseError { message }))
        }
    };
    let reply = wire::ReadRequest { response_data, message_id: message_id.clone(), response_error };
    if replies.send(reply).await.is_err() {
        tracing::error!(target: SCOPE, "error when ack'ing message {message_id}");
    }
}
