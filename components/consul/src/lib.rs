//! Name resolution with HashiCorp Consul: registers the sidecar with the
//! agent and asks it for healthy instances of others (runtime.md §7,
//! components.md §11).
//!
//! This crate must not know who asks or what is called. Entry types:
//! [`Consul`], [`register`].
#![forbid(unsafe_code)]

mod agent;
mod cache;
mod fields;
mod resolver;
mod settings;

use std::sync::Arc;

use dapr_components::nameresolution::{NameResolver, ResolverContext};
use dapr_components::registry::Registry;

pub use resolver::Consul;

/// Registers the resolver under both of its names.
pub fn register(registry: &mut Registry) {
    for name in ["consul", "hashicorp.consul"] {
        registry.name_resolvers.register(name, |context: ResolverContext| async move {
            Ok(Arc::new(Consul::connect(context).await?) as Arc<dyn NameResolver>)
        });
    }
}
