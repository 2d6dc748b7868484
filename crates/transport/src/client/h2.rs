mod driver;
mod outgoing;

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::workers::WorkerId;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONNECTION, CONTENT_LENGTH, TE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use parking_lot::Mutex;

use self::driver::Driver;
use self::outgoing::Outgoing;
use super::ClientError;
use crate::Body;
use crate::connect::Destination;
use crate::cork::cork;

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_FRAME: u32 = 64 * 1024;
/// What one stream may have queued for the peer's window.
const MAX_SEND_BUFFER: usize = 1024 * 1024;

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
/// twice costs more than a connection. Cloning shares them. It is
/// a tower service, so generated gRPC clients run on it.
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
    sender: SendRequest<Bytes>,
    /// Streams in flight: one count is our own.
    streams: Arc<()>,
    /// Whose event loop the connection is in.
    home: WorkerId,
}

/// Streams that go on one connection: what most servers allow.
const STREAMS_PER_CONNECTION: usize = 100;

/// A sender and the token of the stream to be opened on it.
type Stream = (SendRequest<Bytes>, Arc<()>);

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
    ///
    /// The answer's body may begin to arrive before the request's has left.
    pub fn send(&self, request: Request<Body>) -> Sending {
        Sending(Sent::Asked(self.clone(), Some(request)))
    }

    fn begin(&self, stream: Stream, mut request: Request<Body>) -> Result<Exchange, ClientError> {
        *request.uri_mut() = self.absolute(request.uri());
        *request.version_mut() = http::Version::HTTP_2;
        let (mut sender, stream) = stream;
        let (mut head, body) = request.into_parts();
        announce(&head.method, &mut head.headers, &body);
        let end = http_body::Body::is_end_stream(&body);
        let (response, sink) = sender.send_request(Request::from_parts(head, ()), end).map_err(broken)?;
        let outgoing = (!end).then(|| Outgoing::new(body, sink));
        Ok(Exchange { response, outgoing, stream: Some(stream), tasks: self.0.tasks.clone() })
    }

    /// Makes the connection if there is none.
    pub async fn connect(&self) -> Result<(), ClientError> {
        self.stream().await.map(drop)
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

    async fn stream(&self) -> Result<Stream, ClientError> {
        if let Some(stream) = self.free() {
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
        loop {
            let room =
                |c: &Connection| c.home == here && Arc::strong_count(&c.streams) <= STREAMS_PER_CONNECTION;
            let index = connections.iter().position(room)?;
            let connection = &mut connections[index];
            if connection.is_usable() {
                return Some((connection.sender.clone(), connection.streams.clone()));
            }
            connections.swap_remove(index);
        }
    }

    async fn dial(&self) -> Result<SendRequest<Bytes>, ClientError> {
        let stream = self.0.destination.connect().await.map_err(ClientError::Connect)?;
        let (stream, corks) = cork(stream);
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_PER_CONNECTION)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .max_header_list_size(self.0.options.max_header_list)
            .handshake(stream)
            .await
            .map_err(broken)?;
        let driver = Driver::new(connection, corks, self.0.options.keepalive);
        self.0.tasks.spawn_until_drained("h2 client connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(target: "dapr.runtime", "Client connection ended: {error}");
            }
        });
        Ok(sender)
    }
}

/// A request under way, until its answer's head is there. By hand, because an
/// async fn would hold the request several times.
pub struct Sending(Sent);

enum Sent {
    /// Nothing leaves before the first poll. `None` once it was begun.
    Asked(H2Channel, Option<Request<Body>>),
    Dialling(Pin<Box<dyn Future<Output = Result<Exchange, ClientError>> + Send>>),
    Begun(Exchange),
}

impl Future for Sending {
    type Output = Result<Response<Body>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            self.0 = match &mut self.0 {
                Sent::Asked(channel, request) => {
                    let Some(request) = request.take() else { return Poll::Pending };
                    match channel.free() {
                        Some(stream) => Sent::Begun(channel.begin(stream, request)?),
                        None => {
                            let channel = channel.clone();
                            // Boxed: dialling is rare and takes more room than all the rest.
                            Sent::Dialling(Box::pin(async move {
                                let stream = channel.stream().await?;
                                channel.begin(stream, request)
                            }))
                        }
                    }
                }
                Sent::Dialling(dialling) => Sent::Begun(ready!(dialling.as_mut().poll(cx))?),
                Sent::Begun(exchange) => return exchange.poll(cx),
            };
        }
    }
}

struct Exchange {
    response: ResponseFuture,
    /// What is left of the request.
    outgoing: Option<Outgoing>,
    /// Goes to the answer's body.
    stream: Option<Arc<()>>,
    tasks: TaskGroup,
}

impl Exchange {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, ClientError>> {
        if let Some(sending) = &mut self.outgoing
            && let Poll::Ready(sent) = Pin::new(sending).poll(cx)
        {
            self.outgoing = None;
            sent.map_err(|error| ClientError::Broken(error.into()))?;
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx)).map_err(broken)?;
        if let Some(outgoing) = self.outgoing.take() {
            self.tasks.spawn_until_drained("request body", async move {
                if let Err(error) = outgoing.await {
                    tracing::debug!(target: "dapr.runtime", "Request body ended: {error}");
                }
            });
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let stream = self.stream.take();
        Poll::Ready(Ok(response.map(|body| {
            let body = Body::received(body, length);
            match stream {
                Some(stream) => body.guarded_by(stream),
                None => body,
            }
        })))
    }
}

impl Connection {
    /// Whether it takes another stream; none after the peer's GOAWAY.
    fn is_usable(&mut self) -> bool {
        let mut now = Context::from_waker(Waker::noop());
        !matches!(self.sender.poll_ready(&mut now), Poll::Ready(Err(_)))
    }
}

fn broken(error: h2::Error) -> ClientError {
    ClientError::Broken(error.into())
}

/// Makes a request's headers those of HTTP/2 and adds the length where it is
/// known.
fn announce(method: &Method, headers: &mut HeaderMap, body: &Body) {
    strip_connection(headers);
    let pointless = matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT);
    if let Some(length) = body.length()
        && (length != 0 || !pointless)
    {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| decimal(length));
    }
}

/// One allocation of the right size, where the header value's own conversion
/// makes two.
fn decimal(number: u64) -> HeaderValue {
    let mut digits = [0; 20];
    let mut rest = &mut digits[..];
    let written = write!(rest, "{number}").map(|()| 20 - rest.len()).unwrap_or_default();
    HeaderValue::from_bytes(&digits[..written]).unwrap_or_else(|_| HeaderValue::from(number))
}

/// What concerns one HTTP/1.1 connection alone is an error in HTTP/2
/// (RFC 9113 §8.2.2).
fn strip_connection(headers: &mut HeaderMap) {
    for name in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
    if let Some(named) = headers.remove(CONNECTION) {
        for name in named.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
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

#[cfg(test)]
mod tests;
