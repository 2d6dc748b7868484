//! Serving HTTP/1.1 and HTTP/2 on one listener, with graceful stop.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use http::header::UPGRADE;
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use parking_lot::Mutex;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::Body;
use crate::cork::{Corks, cork, uncork};
use crate::h2c_upgrade::{self, Opening, Replay};
use crate::io::{BoxStream, Io};
use crate::listen::Listener;
use crate::streams::Streams;

/// Largest buffer of an HTTP/1 connection. Header limits are checked by the
/// services; a small buffer here would only slow bodies down.
const HTTP1_MAX_BUFFER: usize = 128 * 1024;
/// HTTP/2 receive windows: what a peer may send unasked.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_MAX_FRAME: u32 = 64 * 1024;
/// Streams that one peer may have open.
const H2_MAX_STREAMS: u32 = 10_000;
/// Time for the first request on a connection when a stop comes right after it.
const FIRST_REQUEST: Duration = Duration::from_millis(50);
/// Pause after a failed accept (file descriptors exhausted).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Which versions a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2, by prior knowledge or `Upgrade: h2c`.
    Http,
    /// HTTP/1.1 only.
    Http1Only,
    /// HTTP/2 only: gRPC.
    Http2Only,
}

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Options {
    pub protocol: Protocol,
    /// Time for a request's head to arrive.
    pub header_timeout: Duration,
    /// HTTP/2: largest header list in bytes.
    pub max_header_list: u32,
    /// HTTP/2: ping interval and patience; `None` sends no pings.
    pub keepalive: Option<(Duration, Duration)>,
    /// How long a stop waits for requests in flight; `None` for ever.
    pub drain: Option<Duration>,
    /// What TCP connections begin with, such as TLS; `None` leaves them as
    /// they are. Unix sockets always are.
    pub tls: Option<Securer>,
}

/// A connection that was secured, and what every request on it carries from
/// that, such as who the client is.
pub struct Secured {
    pub stream: BoxStream,
    pub extensions: Extensions,
}

type Securing = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

/// Secures accepted connections. The TLS settings themselves live in the
/// security crate, and so does a limit for the time that this may take.
#[derive(Clone)]
pub struct Securer(Arc<dyn Fn(TcpStream) -> Securing + Send + Sync>);

impl Securer {
    pub fn new(secure: impl Fn(TcpStream) -> Securing + Send + Sync + 'static) -> Self {
        Self(Arc::new(secure))
    }

    pub async fn secure(&self, stream: TcpStream) -> io::Result<Secured> {
        (self.0)(stream).await
    }
}

impl std::fmt::Debug for Securer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Securer(..)")
    }
}

impl Options {
    pub fn http(protocol: Protocol) -> Self {
        Self {
            protocol,
            header_timeout: Duration::from_secs(10),
            max_header_list: 1 << 20,
            keepalive: None,
            drain: Some(Duration::from_secs(10)),
            tls: None,
        }
    }

    /// `max_header_list` in bytes.
    pub fn grpc(max_header_list: u32) -> Self {
        Self {
            protocol: Protocol::Http2Only,
            keepalive: Some((Duration::from_secs(10), Duration::from_secs(5))),
            max_header_list,
            drain: None,
            ..Self::http(Protocol::Http2Only)
        }
    }
}

/// The peer of a connection; `None` on Unix sockets.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// Answers one request. Errors are answers too, hence infallible.
pub trait Service: Send + Sync + 'static {
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `tasks` is told to stop, then drains as `options` says.
pub async fn serve<S: Service>(listener: Listener, service: Arc<S>, options: Options, tasks: TaskGroup) {
    serve_any(listener, service, options, tasks).await;
}

async fn serve_any(listener: Listener, service: Arc<dyn AnyService>, options: Options, tasks: TaskGroup) {
    let graceful = GracefulShutdown::new();
    let shutdown = tasks.shutdown().clone();
    let server = Arc::new(Server { builder: builder(&options), service, options, tasks });
    let stopping = shutdown.wait();
    tokio::pin!(stopping);
    let mut youngest = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                youngest = Some(Instant::now());
                begin(stream, peer, &server, &graceful);
            }
            Err(error) => {
                tracing::warn!(target: "dapr.runtime", "Accepting a connection failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // A connection that was accepted is not closed before its first request.
    if let Some(accepted) = youngest {
        tokio::time::sleep_until(accepted + FIRST_REQUEST).await;
    }
    match server.options.drain {
        Some(limit) => {
            let _ = tokio::time::timeout(limit, graceful.shutdown()).await;
        }
        None => graceful.shutdown().await,
    }
}

/// What the connections of one listener share.
struct Server {
    builder: auto::Builder<Streams>,
    service: Arc<dyn AnyService>,
    options: Options,
    tasks: TaskGroup,
}

/// A [`Service`] behind a pointer, so that the HTTP code is compiled once for
/// all of them.
trait AnyService: Send + Sync {
    fn call(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>>;
}

impl<S: Service> AnyService for S {
    fn call(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(Service::call(self, request, peer))
    }
}

async fn accept(listener: &Listener) -> io::Result<(Io, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            // Small answers must not wait for more data.
            let _ = stream.set_nodelay(true);
            Ok((Io::Tcp(stream), Peer(Some(address))))
        }
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            Ok((Io::Unix(stream), Peer(None)))
        }
    }
}

fn builder(options: &Options) -> auto::Builder<Streams> {
    let streams = match options.protocol {
        Protocol::Http2Only => Streams::AtOnce,
        Protocol::Http | Protocol::Http1Only => Streams::Spawned,
    };
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(HTTP1_MAX_BUFFER)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_frame_size(H2_MAX_FRAME)
        .max_header_list_size(options.max_header_list)
        .max_concurrent_streams(H2_MAX_STREAMS);
    if let Some((interval, patience)) = options.keepalive {
        builder.http2().keep_alive_interval(interval).keep_alive_timeout(patience);
    }
    match options.protocol {
        Protocol::Http => builder,
        Protocol::Http1Only => builder.http1_only(),
        Protocol::Http2Only => {
            // gRPC has no use for it.
            builder.http2().auto_date_header(false);
            builder.http2_only()
        }
    }
}

/// Serves the connection in a task of its own, on the worker that has the
/// fewest of them.
fn begin(stream: Io, peer: Peer, server: &Arc<Server>, graceful: &GracefulShutdown) {
    let place = server.tasks.place();
    let arrival = match &place {
        Some(place) if !place.is_here() => Arrival::elsewhere(stream),
        _ => Ok(Arrival::Here(stream)),
    };
    // For the one upgrade of a connection in the clear.
    let upgrade = (server.options.protocol == Protocol::Http && server.options.tls.is_none())
        .then(|| graceful.watcher());
    let (watcher, tasks, server) = (graceful.watcher(), server.tasks.clone(), server.clone());
    tasks.spawn_placed("connection", place, async move {
        let opened = match arrival.and_then(Arrival::settle) {
            Ok(stream) => server.open(stream, peer, upgrade).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok((connection, stream)) => connection.serve(stream, watcher).await,
            Err(error) => {
                let from = peer.0.map(|a| a.to_string()).unwrap_or_default();
                tracing::debug!(target: "dapr.runtime", "Connection from {from} was not opened: {error}");
            }
        }
    });
}

/// A stream on its way to its worker: it must leave the event loop of one
/// before that of the other can have it.
enum Arrival {
    Here(Io),
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Arrival {
    fn elsewhere(stream: Io) -> io::Result<Self> {
        Ok(match stream {
            Io::Tcp(stream) => Self::Tcp(stream.into_std()?),
            Io::Unix(stream) => Self::Unix(stream.into_std()?),
            wrapped => Self::Here(wrapped),
        })
    }

    fn settle(self) -> io::Result<Io> {
        Ok(match self {
            Self::Here(stream) => stream,
            Self::Tcp(stream) => Io::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Io::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl Server {
    /// Secures the stream if that is asked for.
    async fn open(
        self: Arc<Self>,
        stream: Io,
        peer: Peer,
        upgrade: Option<Watcher>,
    ) -> io::Result<(Connection, Io)> {
        let (stream, extensions) = match (stream, &self.options.tls) {
            (Io::Tcp(stream), Some(securer)) => {
                let secured = self.tasks.shutdown().guard(securer.secure(stream)).await;
                let Secured { stream, extensions } =
                    secured.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()))?;
                (Io::Wrapped(stream), Some(extensions))
            }
            (stream, _) => (stream, None),
        };
        Ok((Connection { server: self, peer, extensions, upgrade: Mutex::new(upgrade), corks: None }, stream))
    }
}

struct Connection {
    server: Arc<Server>,
    peer: Peer,
    /// Of a secured connection: what its requests carry.
    extensions: Option<Extensions>,
    /// For the one upgrade that a connection may make.
    upgrade: Mutex<Option<Watcher>>,
    /// Of a corked stream.
    corks: Option<Corks>,
}

impl Connection {
    async fn serve(mut self, stream: Io, watcher: Watcher) {
        // HTTP/1 sends in one piece anyway, and its streams may be taken over.
        let stream = match self.server.options.protocol {
            Protocol::Http2Only => {
                let (stream, corks) = cork(stream);
                self.corks = Some(corks);
                stream
            }
            Protocol::Http | Protocol::Http1Only => stream,
        };
        let corks = self.corks.clone();
        let this = Arc::new(self);
        let connection = this.clone();
        let handler = service_fn(move |request: Request<Incoming>| {
            let connection = connection.clone();
            async move {
                let response = connection.answer(request).await;
                if let Some(corks) = &connection.corks {
                    corks.begin_answer();
                }
                Ok::<_, Infallible>(response)
            }
        });
        let builder = &this.server.builder;
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler).into_owned();
        if let Err(error) = uncork(corks, watcher.watch(served)).await {
            // A peer that goes away is its own business; debug is enough.
            tracing::debug!(target: "dapr.runtime", "Connection ended: {error}");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        if let Some(extensions) = &self.extensions {
            request.extensions_mut().extend(extensions.clone());
        }
        if request.headers().contains_key(UPGRADE)
            && let Some(opening) = h2c_upgrade::opening(&request)
            && let Some(watcher) = self.upgrade.lock().take()
        {
            self.server
                .tasks
                .spawn("h2c upgrade", upgraded(request, opening, self.server.clone(), self.peer, watcher));
            return h2c_upgrade::switching_protocols();
        }
        self.server.service.call(request, self.peer).await
    }
}

/// Serves HTTP/2 on the connection that `request` came on, beginning with
/// `request` itself.
async fn upgraded(
    request: Request<Incoming>,
    opening: Opening,
    server: Arc<Server>,
    peer: Peer,
    watcher: Watcher,
) {
    let io = match hyper::upgrade::on(request).await {
        Ok(io) => Replay::new(io, opening, server.options.header_timeout),
        Err(error) => {
            tracing::debug!(target: "dapr.runtime", "Upgrading a connection to HTTP/2 failed: {error}");
            return;
        }
    };
    let stream = Io::Wrapped(Box::new(TokioIo::new(io)));
    let builder = server.builder.clone().http2_only();
    let handler = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.service.call(request, peer).await) }
    });
    if let Err(error) =
        watcher.watch(builder.serve_connection(TokioIo::new(stream), handler).into_owned()).await
    {
        tracing::debug!(target: "dapr.runtime", "Upgraded connection ended: {error}");
    }
}
