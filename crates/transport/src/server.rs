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
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::Body;
use crate::connect::BoxStream;
use crate::h2c_upgrade::{self, Opening, Replay};
use crate::listen::Listener;

/// Largest buffer of an HTTP/1 connection. Header limits are checked by the
/// services; a small buffer here would only slow bodies down.
const HTTP1_MAX_BUFFER: usize = 128 * 1024;
/// HTTP/2 receive windows: what a peer may send unasked.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_MAX_FRAME: u32 = 64 * 1024;
/// Streams that one peer may have open.
const H2_MAX_STREAMS: u32 = 10_000;
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
    let graceful = GracefulShutdown::new();
    let shutdown = tasks.shutdown().clone();
    let server = Arc::new(Server { builder: builder(&options), service, options, tasks });
    let stopping = shutdown.wait();
    tokio::pin!(stopping);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok(Accepted::Tcp(stream, addr)) => {
                // Small answers must not wait for more data.
                let _ = stream.set_nodelay(true);
                let peer = Peer(Some(addr));
                match &server.options.tls {
                    None => connection(stream, peer, &server, &graceful),
                    Some(securer) => secured(securer, stream, peer, &server, &graceful),
                }
            }
            Ok(Accepted::Unix(stream)) => connection(stream, Peer(None), &server, &graceful),
            Err(error) => {
                tracing::warn!(target: "dapr.runtime", "Accepting a connection failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    match server.options.drain {
        Some(limit) => {
            let _ = tokio::time::timeout(limit, graceful.shutdown()).await;
        }
        None => graceful.shutdown().await,
    }
}

/// What the connections of one listener share.
struct Server<S> {
    builder: auto::Builder<TokioExecutor>,
    service: Arc<S>,
    options: Options,
    tasks: TaskGroup,
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> std::io::Result<Accepted> {
    match listener {
        Listener::Tcp(l) => l.accept().await.map(|(s, a)| Accepted::Tcp(s, a)),
        Listener::Unix(l, _) => l.accept().await.map(|(s, _)| Accepted::Unix(s)),
    }
}

fn builder(options: &Options) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
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
        Protocol::Http2Only => builder.http2_only(),
    }
}

fn connection<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    server: &Arc<Server<S>>,
    graceful: &GracefulShutdown,
) {
    let upgrade = (server.options.protocol == Protocol::Http).then(|| graceful.watcher());
    let connection =
        Connection { server: server.clone(), peer, extensions: None, upgrade: Mutex::new(upgrade) };
    server.tasks.spawn("connection", connection.serve(stream, graceful.watcher()));
}

/// Secures the connection first, in its own task: others must not wait for it.
fn secured<S: Service>(
    securer: &Securer,
    stream: TcpStream,
    peer: Peer,
    server: &Arc<Server<S>>,
    graceful: &GracefulShutdown,
) {
    let (securing, server, watcher) = ((securer.0)(stream), server.clone(), graceful.watcher());
    let tasks = server.tasks.clone();
    tasks.spawn("connection", async move {
        match server.tasks.shutdown().guard(securing).await {
            Some(Ok(Secured { stream, extensions })) => {
                // Upgrades are for connections in the clear.
                let upgrade = Mutex::new(None);
                let connection = Connection { server, peer, extensions: Some(extensions), upgrade };
                connection.serve(stream, watcher).await;
            }
            Some(Err(error)) => {
                let from = peer.0.map(|a| a.to_string()).unwrap_or_default();
                tracing::debug!(target: "dapr.runtime", "Connection from {from} was not secured: {error}");
            }
            None => {}
        }
    });
}

struct Connection<S> {
    server: Arc<Server<S>>,
    peer: Peer,
    /// Of a secured connection: what its requests carry.
    extensions: Option<Extensions>,
    /// For the one upgrade that a connection may make.
    upgrade: Mutex<Option<Watcher>>,
}

impl<S: Service> Connection<S> {
    fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + Send {
        let this = Arc::new(self);
        let connection = this.clone();
        let handler = service_fn(move |request: Request<Incoming>| {
            let connection = connection.clone();
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let builder = &this.server.builder;
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler).into_owned();
        let watched = watcher.watch(served);
        async move {
            if let Err(error) = watched.await {
                // A peer that goes away is its own business; debug is enough.
                tracing::debug!(target: "dapr.runtime", "Connection ended: {error}");
            }
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
async fn upgraded<S: Service>(
    request: Request<Incoming>,
    opening: Opening,
    server: Arc<Server<S>>,
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
    let builder = server.builder.clone().http2_only();
    let handler = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.service.call(request, peer).await) }
    });
    if let Err(error) = watcher.watch(builder.serve_connection(io, handler)).await {
        tracing::debug!(target: "dapr.runtime", "Upgraded connection ended: {error}");
    }
}
