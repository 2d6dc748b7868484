use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use dapr_components::crypto::{CryptoProvider, Error, Unwrapped};
use dapr_errors::{ApiError, crypto as errors, general};
use dapr_resiliency::{Direction, Kind, Policies, Policy};
use dapr_security::enc::{self, Cipher, FileKey, Header, KeyAlgorithm, Sealing, Segments};
use dapr_telemetry::metrics::catalogue::{Catalogue, operation};

use crate::observed::Meter;

/// What the service is built from.
#[derive(Clone, Default)]
pub struct Options {
    pub policies: Policies,
    pub metrics: Option<Arc<Catalogue>>,
}

/// Encryption and decryption. Cloning shares it.
#[derive(Clone)]
pub struct CryptoService(Arc<Inner>);

struct Inner {
    options: Options,
    providers: ArcSwap<Providers>,
}

type Providers = HashMap<String, Provider>;

/// A loaded provider. Cloning shares it.
#[derive(Clone)]
pub struct Provider(Arc<Loaded>);

struct Loaded {
    component: Arc<dyn CryptoProvider>,
    policy: Policy,
    meter: Meter,
}

/// How a document is to be encrypted, as a caller says it.
#[derive(Clone, Debug, Default)]
pub struct Encryption {
    pub key_name: String,
    /// In any case of letters, as the cipher.
    pub algorithm: String,
    /// Empty means the default.
    pub cipher: String,
    /// Leaves the name of the key out of the document.
    pub omit_key_name: bool,
    /// The name to tell instead of `key_name`, if not empty.
    pub decryption_key_name: String,
}

impl CryptoService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner { options, providers: ArcSwap::default() }))
    }

    /// Adds or replaces a provider.
    pub fn add(&self, name: &str, component: Arc<dyn CryptoProvider>) {
        let Options { policies, metrics } = &self.0.options;
        let operations = metrics.as_deref().map(|m| &m.components.crypto);
        let loaded = Provider(Arc::new(Loaded {
            component,
            policy: policies.component(name, Kind::Crypto, Direction::Outbound),
            meter: Meter::new(operations, name, operation::CRYPTO),
        }));
        self.0.providers.rcu(|providers| {
            let mut next = Providers::clone(providers);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
    }

    pub fn remove(&self, name: &str) -> Option<Arc<dyn CryptoProvider>> {
        let removed = self.0.providers.load().get(name).map(|p| p.0.component.clone());
        self.0.providers.rcu(|providers| {
            let mut next = Providers::clone(providers);
            next.remove(name);
            next
        });
        removed
    }

    pub fn provider(&self, name: &str) -> Result<Provider, ApiError> {
        let providers = self.0.providers.load();
        if providers.is_empty() {
            return Err(errors::not_configured());
        }
        if name.is_empty() {
            return Err(general::bad_request("missing component name"));
        }
        providers.get(name).cloned().ok_or_else(|| errors::provider_not_found(name))
    }
}

impl Provider {
    /// The header of a new document, and what seals its body; `Err` is a text.
    pub(super) async fn seal(&self, encryption: &Encryption) -> Result<(Bytes, Segments), String> {
        let name = encryption.algorithm.to_uppercase();
        let algorithm = KeyAlgorithm::named(&name)
            .ok_or_else(|| format!("option Algorithm is not valid: algorithm {name} is not supported"))?;
        let cipher = match encryption.cipher.to_uppercase().as_str() {
            "" => Cipher::default(),
            name => Cipher::named(name)
                .ok_or_else(|| format!("option Cipher is not valid: cipher {name} is not supported"))?,
        };
        let file_key = FileKey::random();
        let wrapped = self.wrap(&file_key, algorithm, &encryption.key_name).await;
        let wrapped = wrapped.map_err(|e| format!("failed to wrap the file key: {e}"))?;
        let told = match encryption.decryption_key_name.as_str() {
            _ if encryption.omit_key_name => None,
            "" => Some(encryption.key_name.as_str()),
            other => Some(other),
        };
        let sealing = Sealing { key_name: told, algorithm, wrapped: &wrapped, cipher };
        enc::seal(&file_key, &sealing).map_err(|e| e.to_string())
    }

    /// What opens the body of a document. `key_name` wins over the document's
    /// own, unless empty.
    pub(super) async fn open(&self, header: &Header, key_name: &str) -> Result<Segments, String> {
        let key_name = Some(key_name)
            .filter(|name| !name.is_empty())
            .or(header.key_name())
            .ok_or("document's manifest does not contain a key name, and no key name was provided")?;
        // Whether the key does not exist, must not be used or is another one
        // is not told apart: it all ends as a signature that does not fit.
        let unwrapped = self.unwrap(header, key_name).await.ok();
        let file_key = unwrapped.and_then(|key| FileKey::from_bytes(&key));
        header.open(&file_key.unwrap_or_else(FileKey::unusable)).map_err(|e| e.to_string())
    }

    async fn wrap(&self, key: &FileKey, algorithm: KeyAlgorithm, name: &str) -> Result<Bytes, Error> {
        let call = || self.0.component.wrap_key(key.as_bytes(), algorithm.name(), name);
        self.0.meter.watch(self.run(call)).await
    }

    async fn unwrap(&self, header: &Header, name: &str) -> Result<Unwrapped, Error> {
        let (wrapped, algorithm) = (header.wrapped_file_key(), header.algorithm().name());
        let call = || self.0.component.unwrap_key(wrapped, algorithm, name);
        self.0.meter.watch(self.run(call)).await
    }

    async fn run<T, Fut>(&self, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.0.policy.call(call, |_| true, Error).await
    }
}
