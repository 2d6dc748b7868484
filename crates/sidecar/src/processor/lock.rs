//! Lock stores.

use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    /// Lock stores have no capabilities to show.
    pub(super) async fn create_lock(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.locks, component)?;
        let properties = context.properties.clone();
        let store = constructor(context).await?;
        self.lock
            .add(&component.name, store, &properties)
            .map_err(|e| Failure::Init(format!("failed to save lock keyprefix: {e}")))?;
        Ok(Vec::new())
    }

    pub(super) async fn close_lock(&self, name: &str) {
        if let Some(removed) = self.lock.remove(name) {
            removed.close().await;
        }
    }
}
