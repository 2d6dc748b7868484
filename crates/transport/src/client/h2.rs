use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::workers::WorkerId;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;

use super::ClientError;
use crate::Body;
use crate::connect::Destination;

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_FRAME: u32 = 64 * 1024;

#[derive(Clone, Debug)]
pub struct H2Options {
    /// Ping interval and patience; `None` sends no pings.
    pub keepalive: Option<(Duration, Duration)>,
    /// Largest response header list in bytes.
    pub max_header_list: u32,
}

impl H2Options {
    /// Sidecar to sidecar (api.md §1).
    pub fn peer(max_header_list: u32) -> Self {
        Self { keepalive: Some((Duration::from_secs(10), Duration::from_secs(5))), max_header_list }
    }

    /// Sidecar to its application.
    pub fn app(max_header_list: u32) -> Self {
        Self { keepalive: None, max_header_list }
    }
}

/// HTTP/2 connections to one destination: the first on first use, more when
/// all have as many streams as peers usually allow, new ones for those that
/// broke. Each worker has its own, because a request that changes threads
/// twice costs more than a connection. Cloning shares them. It is a tower service, so generated gRPC clients
/// run on it.
#[derive(Clone)]
pub struct H2Channel(Arc<Inner>);

struct Inner {
    destination: Destination,
    authority: Authority,
    scheme: Scheme,
    options: H2Options,
    connections: Mutex<Vec<Connection>>,
    /// Only one caller dials at a time; the others wait for its result.
    dialling: tokio::sync::Mutex<()>,
    tasks: TaskGroup,
}

struct Connection {
    sender: SendRequest<Body>,
    /// Streams in flight: one count is our own.
    streams: Arc<()>,
    /// Whose event loop the connection is in.
    home: WorkerId,
}

/// Streams that go on one connection: what most servers allow.
const STREAMS_PER_CONNECTION: usize = 100;

/// A sender and the token of the stream to be opened on it.
type Stream = (SendRequest<Body>, Arc<()>);

impl H2Channel {
    /// `tls` decides the scheme that requests carry.
    pub fn new(destination: Destination, tls: bool, options: H2Options, tasks: TaskGroup) -> Self {
        let authority =
            destination.authority().parse().unwrap_or_else(|_| Authority::from_static("localhost"));
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        Self(Arc::new(Inner {
            destination,
            authority,
            scheme,
            options,
            connections: Mutex::new(Vec::new()),
            dialling: tokio::sync::Mutex::new(()),
            tasks,
        }))
    }

    /// Sends one request; only path and query of its URI matter.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        *request.uri_mut() = self.absolute(request.uri());
        *request.version_mut() = http::Version::HTTP_2;
        // A connection can be found dead only when it is used: one more try.
        for fresh in [false, true] {
            let (mut sender, stream) = self.stream(fresh).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Body::from_incoming(body).guarded(stream))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(ClientError::Broken(error.into_error().into())),
                },
            }
        }
        unreachable!("the second round returns")
    }

    /// Makes the connection if there is none.
    pub async fn connect(&self) -> Result<(), ClientError> {
        self.stream(false).await.map(drop)
    }

    pub fn authority(&self) -> &str {
        self.0.authority.as_str()
    }

    fn absolute(&self, uri: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.0.scheme.clone());
        parts.authority = Some(self.0.authority.clone());
        parts.path_and_query =
            Some(uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
        Uri::from_parts(parts).unwrap_or_default()
    }

    async fn stream(&self, fresh: bool) -> Result<Stream, ClientError> {
        if !fresh && let Some(stream) = self.free() {
            return Ok(stream);
        }
        let _turn = self.0.dialling.lock().await;
        if let Some(stream) = self.free() {
            return Ok(stream);
        }
        let sender = self.dial().await?;
        let connection = Connection { sender, streams: Arc::new(()), home: WorkerId::current() };
        let stream = (connection.sender.clone(), connection.streams.clone());
        self.0.connections.lock().push(connection);
        Ok(stream)
    }

    /// A live connection with room for one more stream.
    fn free(&self) -> Option<Stream> {
        let here = WorkerId::current();
        let mut connections = self.0.connections.lock();
        connections.retain(|c| !c.sender.is_closed());
        let room =
            |c: &&Connection| c.home == here && Arc::strong_count(&c.streams) <= STREAMS_PER_CONNECTION;
        connections.iter().find(room).map(|c| (c.sender.clone(), c.streams.clone()))
    }

    async fn dial(&self) -> Result<SendRequest<Body>, ClientError> {
        let stream = self.0.destination.connect().await.map_err(ClientError::Connect)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(self.0.options.max_header_list);
        if let Some((interval, patience)) = self.0.options.keepalive {
            builder.keep_alive_interval(interval).keep_alive_timeout(patience).keep_alive_while_idle(true);
        }
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|e| ClientError::Broken(e.into()))?;
        self.0.tasks.spawn_until_drained("h2 client connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "dapr.runtime", "Client connection ended: {error}");
            }
        });
        Ok(sender)
    }
}

impl tower_service::Service<Request<tonic::body::Body>> for H2Channel {
    type Response = Response<Body>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.send(request.map(Body::boxed)).await })
    }
}

impl std::fmt::Debug for H2Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("H2Channel").field(&self.0.destination).finish()
    }
}
