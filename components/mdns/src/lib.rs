//! `nameresolution.mdns`: finds sidecars by application id with DNS service
//! discovery over multicast DNS, interoperable with every other Dapr sidecar
//! on the network (runtime.md §7, §18.29).
//!
//! The service type is the bare application id (`<app-id>.local.`), which
//! ordinary DNS-SD libraries refuse; hence the engine here. `core` decides
//! everything and touches neither socket, clock nor file; `network`, `registry`
//! and `resolver` carry out what it says. This crate must not know who calls a
//! resolved address or how. Entry types: [`register`], [`MdnsResolver`],
//! [`Options`].
#![forbid(unsafe_code)]

pub mod core;
mod interfaces;
mod network;
mod registry;
mod resolver;

pub use interfaces::InterfaceScope;
pub use resolver::{MdnsResolver, Options};

use std::sync::Arc;

use dapr_components::InitError;
use dapr_components::nameresolution::{NameResolver, ResolverContext};
use dapr_components::registry::Registry;

/// Makes `mdns` known to `registry`.
pub fn register(registry: &mut Registry) {
    registry.name_resolvers.register("mdns", |context: ResolverContext| async move {
        let options = Options::from_configuration(&context.configuration)?;
        let resolver = MdnsResolver::start(context.instance, options, &context.tasks)?;
        Ok(Arc::new(resolver) as Arc<dyn NameResolver>)
    });
}

/// Why a resolver could not start. Blocked multicast is not among them: the
/// sidecar then lives from the local registry.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("name is missing")]
    NameMissing,
    #[error("port is missing or invalid")]
    PortMissing,
    #[error("nameResolution.configuration: 'registryDir' must be a string with a folder path, got {0}")]
    RegistryDir(String),
}

impl From<StartError> for InitError {
    fn from(error: StartError) -> Self {
        Self::new(error.to_string())
    }
}
