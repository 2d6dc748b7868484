//! Crypto providers.

use dapr_components::InitContext;
use dapr_resources::Component;

use super::{Failure, Processor, find};

impl Processor {
    pub(super) async fn create_crypto(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.crypto, component)?;
        let provider = constructor(context).await?;
        let capabilities = provider.features().iter().map(|f| (*f).to_owned()).collect();
        self.crypto.add(&component.name, provider);
        Ok(capabilities)
    }

    pub(super) async fn close_crypto(&self, name: &str) {
        if let Some(removed) = self.crypto.remove(name) {
            removed.close().await;
        }
    }
}
