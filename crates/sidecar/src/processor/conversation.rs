//! Language models.

use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    pub(super) async fn create_conversation(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.conversation, component)?;
        let model = constructor(context).await?;
        self.conversation.add(&component.name, model);
        Ok(Vec::new())
    }

    pub(super) async fn close_conversation(&self, name: &str) {
        if let Some(removed) = self.conversation.remove(name) {
            removed.close().await;
        }
    }
}
