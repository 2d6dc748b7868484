use std::sync::Arc;
use std::time::Duration;

use dapr_components::middleware::Pipeline;
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::connect::Destination;
use tokio::sync::OwnedSemaphorePermit;

use crate::health::AppHealth;
use crate::{ChannelError, ConcurrencyLimit, GrpcChannel, HttpChannel, InvokeRequest, InvokeResponse};

/// Application protocols of `--app-protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Https,
    H2c,
    Grpc,
    Grpcs,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown application protocol '{0}': use http, https, h2c, grpc or grpcs")]
pub struct UnknownProtocol(pub String);

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        }
    }

    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }
}

impl std::str::FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        match text.to_ascii_lowercase().as_str() {
            "" | "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "h2c" => Ok(Self::H2c),
            "grpc" => Ok(Self::Grpc),
            "grpcs" => Ok(Self::Grpcs),
            _ => Err(UnknownProtocol(text.to_owned())),
        }
    }
}

/// How to reach the application.
#[derive(Clone, Debug)]
pub struct Options {
    pub protocol: Protocol,
    pub address: String,
    pub port: u16,
    /// Calls at once; `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// `APP_API_TOKEN`, sent as `dapr-api-token`.
    pub token: Option<String>,
    /// Largest response head in bytes (`--read-buffer-size`).
    pub max_response_head: usize,
    /// Largest gRPC message in bytes (`--max-body-size`); 0 for none.
    pub max_message: usize,
    pub metrics: Option<Arc<Catalogue>>,
    /// What calls to an HTTP application go through; health probes do not.
    pub pipeline: Pipeline,
    /// Whether calls without a trace context carry the zero one: always, unless
    /// tracing is turned off (runtime.md §18.1).
    pub zero_trace: bool,
}

/// The one channel to the application. Cloning shares it.
#[derive(Clone, Debug)]
pub struct AppChannel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    health: AppHealth,
    limit: ConcurrencyLimit,
    options: Options,
}

#[derive(Debug)]
enum Kind {
    Http(HttpChannel),
    Grpc(GrpcChannel),
}

/// Patience for one connection to the application.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);

impl AppChannel {
    pub fn new(options: Options, health: AppHealth, tasks: TaskGroup) -> Self {
        let mut destination = Destination::tcp(join_host_port(&options.address, options.port), DIAL_TIMEOUT);
        if options.protocol.is_tls() {
            destination = destination.wrapped(crate::discovery::unverified_tls(&options));
        }
        let kind = if options.protocol.is_grpc() {
            Kind::Grpc(GrpcChannel::new(destination, &options, tasks))
        } else {
            Kind::Http(HttpChannel::new(destination, &options, tasks))
        };
        let limit = ConcurrencyLimit::new(options.max_concurrency);
        Self(Arc::new(Inner { kind, health, limit, options }))
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    pub fn health(&self) -> &AppHealth {
        &self.0.health
    }

    /// The HTTP channel, for applications that speak HTTP.
    pub fn http(&self) -> Option<&HttpChannel> {
        match &self.0.kind {
            Kind::Http(http) => Some(http),
            Kind::Grpc(_) => None,
        }
    }

    pub fn grpc(&self) -> Option<&GrpcChannel> {
        match &self.0.kind {
            Kind::Grpc(grpc) => Some(grpc),
            Kind::Http(_) => None,
        }
    }

    /// A slot of the concurrency limit, to be held until the answer was read;
    /// `None` without a limit.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        self.0.limit.slot().await
    }

    /// Calls a method of the application. The concurrency slot is held until
    /// the answer's body has been read.
    pub async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, ChannelError> {
        if !self.0.health.takes_calls() {
            return Err(ChannelError::Unhealthy);
        }
        let slot = self.slot().await;
        let mut response = match &self.0.kind {
            Kind::Http(http) => http.invoke(request).await?,
            // Boxed: HTTP applications need no room for what gRPC takes.
            Kind::Grpc(grpc) => Box::pin(grpc.invoke(request)).await?,
        };
        if let Some(slot) = slot {
            response.body = response.body.guarded(slot);
        }
        Ok(response)
    }
}

/// `host:port`, IPv6 literals in brackets.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
