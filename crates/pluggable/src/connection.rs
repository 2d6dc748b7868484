use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::Body;
use dapr_transport::client::{ClientError, H2Channel, H2Options};
use dapr_transport::connect::Destination;
use dapr_wire::components::v1::MetadataRequest;
use http::{HeaderValue, Request, Response};

/// Tells a process that serves several instances which one is meant.
const INSTANCE: &str = "x-component-instance";
/// Patience with a socket that does not accept.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest list of response headers in bytes.
const MAX_HEADER_LIST: u32 = 1 << 20;
/// How long a closed connection's task may take to end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The one connection of one component instance: a service for generated
/// clients which marks every call with the instance's name.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: H2Channel,
    instance: Option<HeaderValue>,
    tasks: TaskGroup,
}

impl Connection {
    /// Without an instance: for questions about the process itself.
    pub fn anonymous(socket: &Path) -> Self {
        // A group of its own: the connection outlives the sidecar's other
        // tasks until the last message is acknowledged.
        let tasks = TaskGroup::new(Shutdown::new());
        let destination = Destination::unix(socket, DIAL_TIMEOUT);
        let channel = H2Channel::new(destination, false, H2Options::app(MAX_HEADER_LIST), tasks.clone());
        Self { channel, instance: None, tasks }
    }

    /// For the component that `context` describes; dials.
    pub async fn open(socket: &Path, context: &InitContext) -> Result<Self, InitError> {
        let instance = HeaderValue::from_str(&context.name)
            .map_err(|_| InitError::new(format!("name {} cannot be sent as gRPC metadata", context.name)))?;
        let connection = Self { instance: Some(instance), ..Self::anonymous(socket) };
        connection.dial().await.map_err(|error| {
            InitError::new(format!(
                "unable to open GRPC connection using socket 'unix://{}': {error}",
                socket.display()
            ))
        })?;
        Ok(connection)
    }

    /// Makes the connection if there is none.
    pub async fn dial(&self) -> Result<(), ClientError> {
        self.channel.connect().await
    }

    /// Ends the connection and the calls under way on it.
    pub async fn close(&self) {
        self.tasks.stop(CLOSE_PATIENCE).await;
    }
}

impl tower_service::Service<Request<tonic::body::Body>> for Connection {
    type Response = Response<Body>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        if let Some(instance) = &self.instance {
            request.headers_mut().insert(INSTANCE, instance.clone());
        }
        self.channel.call(request)
    }
}

/// What every `Init` call carries.
pub fn metadata(context: &InitContext) -> Option<MetadataRequest> {
    let properties = context.properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Some(MetadataRequest { properties })
}
