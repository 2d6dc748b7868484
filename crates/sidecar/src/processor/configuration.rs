//! Configuration stores.

use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    /// Configuration stores have no capabilities to show.
    pub(super) async fn create_configuration(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.configuration, component)?;
        let store = constructor(context).await?;
        self.configuration.add(&component.name, store);
        Ok(Vec::new())
    }

    pub(super) async fn close_configuration(&self, name: &str) {
        if let Some(removed) = self.configuration.remove(name) {
            removed.close().await;
        }
    }
}
