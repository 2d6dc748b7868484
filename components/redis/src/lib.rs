//! Components on Redis: `state.redis` and `pubsub.redis`
//! (components.md §3.2, §3.3, §4.2).
//!
//! This crate must not know the API, key prefixes or CloudEvents: keys and
//! payloads arrive as they are stored. Entry points: [`register`],
//! [`state::RedisStore`], [`pubsub::RedisStreams`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::pubsub::PubSub;
use dapr_components::registry::Registry;
use dapr_components::state::StateStore;

mod connect;
mod connection;
pub mod pubsub;
mod settings;
pub mod state;

/// Registers `state.redis` and `pubsub.redis`.
pub fn register(registry: &mut Registry) {
    registry.state.register("state.redis", |context: InitContext| async move {
        Ok(Arc::new(state::RedisStore::connect(&context).await?) as Arc<dyn StateStore>)
    });
    registry.pubsub.register("pubsub.redis", |context: InitContext| async move {
        Ok(Arc::new(pubsub::RedisStreams::connect(&context).await?) as Arc<dyn PubSub>)
    });
}
