//! Components that keep everything in the memory of the sidecar:
//! `state.in-memory` and `pubsub.in-memory` (components.md §3.1, §4.1).
//!
//! Nothing outlives a component instance and nothing reaches another process.
//! This crate must not know the API protocols or how resources are loaded.
//! Entry types: [`StateStore`], [`PubSub`] and [`register`].
#![forbid(unsafe_code)]

mod description;
mod pubsub;
mod state;

pub use pubsub::PubSub;
pub use state::StateStore;

use std::sync::Arc;

use dapr_components::registry::Registry;

/// Adds the types of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::STATE, &description::PUBSUB]);
    registry.state.register("state.in-memory", |context| async move {
        Ok(Arc::new(StateStore::new(&context.tasks)) as Arc<dyn dapr_components::state::StateStore>)
    });
    registry.pubsub.register("pubsub.in-memory", |context| async move {
        Ok(Arc::new(PubSub::new(context.tasks)) as Arc<dyn dapr_components::pubsub::PubSub>)
    });
}
