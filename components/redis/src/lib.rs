//! Components on Redis: `state.redis`, `pubsub.redis`, `configuration.redis`
//! and `lock.redis` (components.md §3.2, §3.3, §4.2, §7, §8).
//!
//! This crate must not know the API, key prefixes or CloudEvents: keys and
//! payloads arrive as they are stored. Entry points: [`register`],
//! [`state::RedisStore`], [`pubsub::RedisStreams`],
//! [`configuration::RedisConfiguration`], [`lock::RedisLock`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::configuration::ConfigurationStore;
use dapr_components::lock::LockStore;
use dapr_components::pubsub::PubSub;
use dapr_components::registry::Registry;
use dapr_components::state::StateStore;

pub mod configuration;
mod connect;
mod connection;
mod description;
pub mod lock;
pub mod pubsub;
mod settings;
pub mod state;

/// Registers the types of this crate.
pub fn register(registry: &mut Registry) {
    use description::{CONFIGURATION, LOCK, PUBSUB, STATE};
    registry.describe(&[&STATE, &PUBSUB, &CONFIGURATION, &LOCK]);
    registry.state.register("state.redis", |context: InitContext| async move {
        Ok(Arc::new(state::RedisStore::connect(&context).await?) as Arc<dyn StateStore>)
    });
    registry.pubsub.register("pubsub.redis", |context: InitContext| async move {
        Ok(Arc::new(pubsub::RedisStreams::connect(&context).await?) as Arc<dyn PubSub>)
    });
    registry.configuration.register("configuration.redis", |context: InitContext| async move {
        let store = configuration::RedisConfiguration::connect(&context).await?;
        Ok(Arc::new(store) as Arc<dyn ConfigurationStore>)
    });
    registry.locks.register("lock.redis", |context: InitContext| async move {
        Ok(Arc::new(lock::RedisLock::connect(&context).await?) as Arc<dyn LockStore>)
    });
}
