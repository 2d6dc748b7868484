//! Name resolution: where the sidecar of an application listens
//! (runtime.md §7).

use std::net::IpAddr;

use async_trait::async_trait;
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;

/// What a resolver gets to come into being: its configuration and the
/// instance that it announces.
#[derive(Clone, Debug)]
pub struct ResolverContext {
    /// `spec.nameResolution.configuration` as JSON; `Null` when absent.
    pub configuration: serde_json::Value,
    pub instance: Instance,
    pub tasks: TaskGroup,
}

/// The sidecar that a resolver announces to others.
#[derive(Clone, Debug)]
pub struct Instance {
    pub identity: AppIdentity,
    pub address: IpAddr,
    pub http_port: u16,
    pub internal_grpc_port: u16,
    pub app_port: u16,
}

#[derive(Clone, Debug)]
pub struct ResolveRequest<'a> {
    pub app_id: &'a str,
    pub namespace: &'a str,
    /// Internal gRPC port of the caller's own configuration.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

#[async_trait]
pub trait NameResolver: Send + Sync + 'static {
    /// `host:port` candidates; a caller picks one at random. Empty means "not
    /// known (yet)" and may be asked again; an error is final.
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error>;

    /// True when answers hold several addresses that may be cached for 20 s.
    fn is_multi_address(&self) -> bool {
        false
    }

    async fn close(&self) {}
}
