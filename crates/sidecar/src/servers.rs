//! Listeners and what is served on them (runtime.md §14).

use std::path::Path;
use std::sync::Arc;

use dapr_gateway::grpc::{self, GrpcApi, InternalApi};
use dapr_gateway::http::{self as http_api, HttpApi};
use dapr_gateway::{Api, http::reply};
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::Body;
use dapr_transport::listen::Listener;
use dapr_transport::server::{self, Peer, Protocol, Securer, Service};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::host;
use crate::options::Options;
use crate::sockets::Sockets;

/// What the servers are built from.
pub struct Plan {
    pub api: Arc<Api>,
    pub http: http_api::Options,
    pub grpc: grpc::Options,
    pub metrics: Option<Arc<Catalogue>>,
    pub sockets: Sockets,
}

/// Binds the port for other sidecars before anything else: it accepts
/// connections while components are still starting.
pub async fn reserve_internal(options: &Options, sockets: &Sockets) -> Result<(Listener, u16), String> {
    let address = &options.listen.internal_address;
    let wanted = match options.listen.internal_port {
        Some(port) => port,
        None => stable_or_any(options, sockets),
    };
    let listener = sockets.tcp(address, wanted).await.map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_or(wanted, |a| a.port());
    Ok((listener, port))
}

fn stable_or_any(options: &Options, sockets: &Sockets) -> u16 {
    let port = host::stable_port(options.identity.app_id());
    let address = &options.listen.internal_address;
    if let Some(ours) = [port, 0].into_iter().find(|p| sockets.has(address, *p)) {
        return ours;
    }
    // Someone else may have it: any free port will do then.
    if std::net::TcpListener::bind(("localhost", port)).is_ok() { port } else { 0 }
}

/// Opens every listener and serves until `tasks` stops.
pub async fn start(options: &Options, plan: Plan, tasks: &TaskGroup) -> Result<(), String> {
    let grpc = Arc::new(GrpcApi::new(plan.api.clone(), plan.grpc, plan.metrics.clone()));
    let grpc_settings = server::Options::grpc(grpc_header_list(options));
    let listen = &options.listen;
    let app = options.identity.app_id();
    let sockets = &plan.sockets;
    if let Some(dir) = &listen.socket_dir {
        serve(unix(sockets, dir, app, "grpc")?, grpc, grpc_settings, tasks);
        tracing::info!(target: "dapr.runtime", "API gRPC server is running on a Unix Domain Socket");
    } else {
        for listener in bind_all(sockets, &listen.addresses, listen.grpc_port).await? {
            serve(listener, grpc.clone(), grpc_settings.clone(), tasks);
        }
        tracing::info!(target: "dapr.runtime", "API gRPC server is running on port {}", listen.grpc_port);
    }
    let http = Arc::new(HttpApi::new(plan.api.clone(), plan.http.clone(), plan.metrics.clone()));
    let protocol = if options.disable_h2c { Protocol::Http1Only } else { Protocol::Http };
    let http_settings = server::Options::http(protocol);
    if let Some(dir) = &listen.socket_dir {
        serve(unix(sockets, dir, app, "http")?, http, http_settings, tasks);
        tracing::info!(target: "dapr.runtime", "HTTP server is running on a Unix Domain Socket");
    } else {
        for listener in bind_all(sockets, &listen.addresses, listen.http_port).await? {
            serve(listener, http.clone(), http_settings.clone(), tasks);
        }
        tracing::info!(target: "dapr.runtime", "HTTP server is running on port {}", listen.http_port);
    }
    let size = options.max_body.unwrap_or(0);
    tracing::info!(target: "dapr.runtime", "The request body size parameter is: {size} bytes");
    if let Some(port) = listen.public_port {
        let public = Arc::new(HttpApi::public(plan.api, plan.http, plan.metrics));
        let listener = sockets.tcp(&listen.public_address, port).await.map_err(|e| e.to_string())?;
        serve(listener, public, server::Options::http(Protocol::Http1Only), tasks);
    }
    if let Some(port) = listen.profiling_port {
        for listener in bind_all(sockets, &listen.addresses, port)
            .await
            .map_err(|_| "could not listen on any endpoint for profiling API".to_owned())?
        {
            serve(listener, Arc::new(Profiling), server::Options::http(Protocol::Http1Only), tasks);
        }
    }
    Ok(())
}

/// Serves other sidecars on the reserved port, over `tls` if there is to be any.
pub fn start_internal(
    options: &Options,
    listener: Listener,
    port: u16,
    api: Arc<Api>,
    metrics: Option<Arc<Catalogue>>,
    tls: Option<Securer>,
    tasks: &TaskGroup,
) {
    let max = options.max_body.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let settings = server::Options { tls, ..server::Options::grpc(grpc_header_list(options)) };
    serve(listener, Arc::new(InternalApi::new(api, max, metrics)), settings, tasks);
    let address = &options.listen.internal_address;
    tracing::info!(target: "dapr.runtime", "Internal gRPC server is running on {address}:{port}");
}

/// The header list that gRPC accepts, in bytes (api.md §1).
pub fn grpc_header_list(options: &Options) -> u32 {
    u32::try_from(options.max_header.saturating_mul(1024)).unwrap_or(u32::MAX)
}

/// Serves metrics: any path answers them.
pub async fn start_metrics(
    address: &str,
    port: u16,
    registry: dapr_telemetry::metrics::Registry,
    sockets: &Sockets,
    tasks: &TaskGroup,
) -> Result<(), String> {
    let listener = sockets.tcp(address, port).await.map_err(|e| e.to_string())?;
    tracing::info!(target: "dapr.metrics", "metrics server started on {address}:{port}/");
    serve(listener, Arc::new(Metrics(registry)), server::Options::http(Protocol::Http1Only), tasks);
    Ok(())
}

fn serve<S: Service>(listener: Listener, service: Arc<S>, settings: server::Options, tasks: &TaskGroup) {
    tasks.spawn("server", server::serve(listener, service, settings, tasks.clone()));
}

fn unix(sockets: &Sockets, dir: &Path, app: &str, kind: &str) -> Result<Listener, String> {
    sockets.unix(&dir.join(format!("dapr-{app}-{kind}.socket"))).map_err(|e| e.to_string())
}

/// At least one of the addresses must be bindable; the others are logged.
async fn bind_all(sockets: &Sockets, addresses: &[String], port: u16) -> Result<Vec<Listener>, String> {
    let mut bound = Vec::with_capacity(addresses.len());
    let mut failures = Vec::new();
    for address in addresses {
        match sockets.tcp(address, port).await {
            Ok(listener) => bound.push(listener),
            Err(error) => {
                tracing::error!(target: "dapr.runtime", "Failed to listen: {error}");
                failures.push(error.to_string());
            }
        }
    }
    if bound.is_empty() {
        return Err(format!("could not listen on any endpoint: {}", failures.join("; ")));
    }
    Ok(bound)
}

struct Metrics(dapr_telemetry::metrics::Registry);

impl Service for Metrics {
    async fn call(&self, _: Request<Incoming>, _: Peer) -> Response<Body> {
        let mut response = reply::text(StatusCode::OK, self.0.render());
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
        );
        response
    }
}

/// The profiling port is open so that tools find it; profiles themselves are
/// Go's and there are none.
struct Profiling;

impl Service for Profiling {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        if request.uri().path().starts_with("/debug/pprof") {
            reply::text(
                StatusCode::OK,
                "this program has no Go profiles; use a native profiler such as perf\n",
            )
        } else {
            reply::text(StatusCode::NOT_FOUND, "404 page not found\n")
        }
    }
}
