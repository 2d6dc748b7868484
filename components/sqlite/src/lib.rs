//! Components on a SQLite file: `state.sqlite` and name resolution `sqlite`
//! with the layout that other Dapr sidecars read and write (components.md
//! §1.6, §3.5, §11), and what only this project has: `pubsub.sqlite`, a
//! durable message bus for all processes of one machine (see [`PubSub`]),
//! `configuration.sqlite` and `lock.sqlite`.
//!
//! This crate must not know the API protocols or how resources are loaded.
//! Entry types: [`StateStore`], [`PubSub`], [`Configuration`], [`Lock`],
//! [`NameResolver`], [`register`].
#![forbid(unsafe_code)]

mod cleanup;
mod configuration;
mod connection;
mod database;
mod description;
mod lock;
mod migrations;
mod nameresolution;
mod pubsub;
mod state;
mod wake;

pub use configuration::Configuration;
pub use lock::Lock;
pub use nameresolution::NameResolver;
pub use pubsub::PubSub;
pub use state::StateStore;

use std::sync::Arc;

use dapr_components::registry::Registry;

/// Adds the types of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[
        &description::STATE,
        &description::PUBSUB,
        &description::CONFIGURATION,
        &description::LOCK,
    ]);
    registry.state.register("state.sqlite", |context| async move {
        Ok(Arc::new(StateStore::open(context).await?) as Arc<dyn dapr_components::state::StateStore>)
    });
    registry.pubsub.register("pubsub.sqlite", |context| async move {
        Ok(Arc::new(PubSub::open(context).await?) as Arc<dyn dapr_components::pubsub::PubSub>)
    });
    registry.configuration.register("configuration.sqlite", |context| async move {
        let store = Configuration::open(context).await?;
        Ok(Arc::new(store) as Arc<dyn dapr_components::configuration::ConfigurationStore>)
    });
    registry.locks.register("lock.sqlite", |context| async move {
        Ok(Arc::new(Lock::open(context).await?) as Arc<dyn dapr_components::lock::LockStore>)
    });
    registry.name_resolvers.register("sqlite", |context| async move {
        let resolver = NameResolver::open(context).await?;
        Ok(Arc::new(resolver) as Arc<dyn dapr_components::nameresolution::NameResolver>)
    });
}
