//! Message brokers.

use dapr_blocks::pubsub::PubSubConfig;
use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    pub(super) async fn create_pubsub(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.pubsub, component)?;
        let config =
            PubSubConfig::new(&context.properties, self.identity.app_id(), component.uses_namespace());
        let bus = constructor(context).await?;
        let capabilities = bus.features().iter().map(|f| f.as_str().to_owned()).collect();
        match self.pubsub.component(&component.name) {
            Some(old) if old.is_volatile() => {
                self.pubsub.replace_volatile(&component.name, bus, config).await;
            }
            _ => self.pubsub.add(&component.name, bus, config),
        }
        Ok(capabilities)
    }

    pub(super) async fn close_pubsub(&self, name: &str) {
        if let Some(removed) = self.pubsub.remove(name) {
            removed.close().await;
        }
    }
}
