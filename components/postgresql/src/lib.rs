//! Components on PostgreSQL: `configuration.postgresql`
//! (components.md §1.6, §7).
//!
//! This crate must not know the API or key prefixes. What components of the
//! family share is in `settings` (metadata), `tls` and `pool`. Entry points:
//! [`register`], [`configuration::PostgresConfiguration`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::configuration::ConfigurationStore;
use dapr_components::registry::Registry;

pub mod configuration;
mod description;
mod pool;
mod settings;
mod tls;

/// Registers the types of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::CONFIGURATION]);
    for name in ["configuration.postgresql", "configuration.postgres"] {
        registry.configuration.register(name, |context: InitContext| async move {
            let store = configuration::PostgresConfiguration::connect(&context).await?;
            Ok(Arc::new(store) as Arc<dyn ConfigurationStore>)
        });
    }
}
