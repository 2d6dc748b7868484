//! State stores.

use dapr_components::InitContext;
use dapr_components::state::Feature;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    pub(super) async fn create_state(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.state, component)?;
        for unsupported in ["primaryEncryptionKey", "secondaryEncryptionKey", "outboxPublishPubsub"] {
            if context.properties.get(unsupported).is_some_and(|v| !v.is_empty()) {
                return Err(Failure::Init(format!(
                    "metadata property '{unsupported}' is not available in this release; remove it from the component"
                )));
            }
        }
        let properties = context.properties.clone();
        let store = constructor(context).await?;
        let mut capabilities: Vec<String> = store.features().iter().map(|f| f.as_str().to_owned()).collect();
        let has = |f| store.features().contains(&f);
        if has(Feature::Etag) && has(Feature::Transactional) {
            capabilities.push("ACTOR".to_owned());
        }
        self.state.add(&component.name, store, &properties).map_err(|e| Failure::Init(e.to_string()))?;
        Ok(capabilities)
    }

    pub(super) async fn close_state(&self, name: &str) {
        if let Some(removed) = self.state.remove(name) {
            removed.store.close().await;
        }
    }
}
