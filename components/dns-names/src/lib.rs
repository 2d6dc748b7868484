//! Name resolution by names that are made from the application's: the
//! services that Kubernetes has in its DNS, and a format of the user's
//! (runtime.md §7, components.md §11).
//!
//! This crate must not know Kubernetes' API: the cluster's DNS is all that it
//! asks. Entry types: [`KubernetesDns`], [`NameFormat`], [`register`].
#![forbid(unsafe_code)]

mod kubernetes;
mod name_format;
mod template;

use std::sync::Arc;

use dapr_components::InitError;
use dapr_components::nameresolution::{NameResolver, ResolverContext};
use dapr_components::registry::Registry;

pub use kubernetes::KubernetesDns;
pub use name_format::NameFormat;

/// Registers the types of this crate.
pub fn register(registry: &mut Registry) {
    registry.name_resolvers.register("kubernetes", |context: ResolverContext| async move {
        let resolver = KubernetesDns::new(&context.configuration).map_err(InitError::new)?;
        Ok(Arc::new(resolver) as Arc<dyn NameResolver>)
    });
    registry.name_resolvers.register("nameformat", |context: ResolverContext| async move {
        let resolver = NameFormat::new(&context.configuration).map_err(InitError::new)?;
        Ok(Arc::new(resolver) as Arc<dyn NameResolver>)
    });
}
