//! Secret stores.

use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    pub(super) async fn create_secret_store(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.secret_stores, component)?;
        let store = constructor(context).await?;
        let capabilities = store.features().iter().map(|f| (*f).to_owned()).collect();
        self.secrets.add(&component.name, store);
        Ok(capabilities)
    }

    pub(super) async fn close_secret_store(&self, name: &str) {
        if let Some(removed) = self.secrets.remove(name) {
            removed.close().await;
        }
    }
}
