//! State stores.

use dapr_blocks::outbox;
use dapr_components::InitContext;
use dapr_components::state::Feature;
use dapr_resources::Component;
use dapr_security::at_rest::{Keys, NamedKey};

use super::{Failure, Processor, SCOPE, find};

impl Processor {
    pub(super) async fn create_state(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let constructor = find(&self.registry.state, component)?;
        let keys = self.encryption_keys(component)?;
        let properties = context.properties.clone();
        let store = constructor(context).await?;
        let mut capabilities: Vec<String> = store.features().iter().map(|f| f.as_str().to_owned()).collect();
        let has = |f| store.features().contains(&f);
        if has(Feature::Etag) && has(Feature::Transactional) {
            capabilities.push("ACTOR".to_owned());
        }
        self.state
            .add(&component.name, store, &properties, keys)
            .map_err(|e| Failure::Init(e.to_string()))?;
        self.outbox.configure(&component.name, outbox::Config::from_properties(&properties)).await;
        Ok(capabilities)
    }

    /// The keys that values are encrypted with. Only keys from a secret store
    /// count: the name of the secret is written beside each value.
    fn encryption_keys(&self, component: &Component) -> Result<Option<Keys>, Failure> {
        let given = |name: &str| {
            let item = component.metadata.iter().find(|item| item.name == name)?;
            Some((item.secret_key_ref.name.clone(), item.value.text()))
        };
        let (primary, secondary) = (given("primaryEncryptionKey"), given("secondaryEncryptionKey"));
        if primary.is_none() && secondary.is_none() {
            return Ok(None);
        }
        if self.secrets.raw_store(self.secret_refs.store_of(component)).is_none() {
            tracing::warn!(
                target: SCOPE,
                "state store {} has an encryption key that is not in a secret store: its values are NOT encrypted",
                component.name
            );
            return Ok(None);
        }
        let refused =
            |reason: String| Failure::Creation(format!("failed to extract encryption key: {reason}"));
        let key = |given: Option<(String, String)>| match given {
            None => Ok(None),
            Some((name, _)) if name.is_empty() => Err(refused("secretKeyRef cannot be empty".to_owned())),
            Some((name, text)) if text.is_empty() => {
                Err(refused(format!("secret '{name}' holds no encryption key")))
            }
            Some((name, text)) => NamedKey::new(&name, &text).map(Some).map_err(|e| refused(e.to_string())),
        };
        let secondary = key(secondary)?;
        let Some(primary) = key(primary)? else { return Ok(None) };
        tracing::info!(target: SCOPE, "Automatic encryption enabled for state store {}", component.name);
        tracing::info!(
            target: SCOPE,
            "WARNING: Automatic state store encryption should never be used to store more than 4 billion items in the state store (including updates). Storing more items than that can cause the private key to be exposed."
        );
        Ok(Some(Keys { primary, secondary }))
    }

    pub(super) async fn close_state(&self, name: &str) {
        if let Some(removed) = self.state.remove(name) {
            removed.store.close().await;
        }
    }
}
