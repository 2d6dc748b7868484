//! What the providers share: look the key up, check what it is meant for,
//! compute.

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::crypto::{CryptoProvider, Error, Unwrapped};
use dapr_security::keys::{Key, WrapError};

/// Where keys come from.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// `Err` says why there is no such key.
    async fn key(&self, name: &str) -> Result<Key, String>;

    /// Ends what runs in the background.
    fn close(&self) {}
}

/// Computes with the keys of a source.
#[derive(Debug)]
pub struct Provider<S>(S);

impl<S: KeySource> Provider<S> {
    pub fn new(source: S) -> Self {
        Self(source)
    }

    async fn key(&self, name: &str, operation: &str, algorithm: &str) -> Result<Key, Error> {
        let key = self.0.key(name).await;
        let key = key.map_err(|e| Error(format!("failed to retrieve the key encryption key: {e}")))?;
        if !key.allows(operation) {
            return Err(Error(format!("key cannot perform the '{operation}' operation")));
        }
        if !key.allows_algorithm(algorithm) {
            return Err(Error(format!("key cannot be used with algorithm '{algorithm}'")));
        }
        Ok(key)
    }
}

#[async_trait]
impl<S: KeySource> CryptoProvider for Provider<S> {
    async fn wrap_key(&self, plain: &[u8], algorithm: &str, name: &str) -> Result<Bytes, Error> {
        let key = self.key(name, "wrapKey", algorithm).await?;
        let (plain, algorithm) = (Unwrapped::new(plain.to_vec()), algorithm.to_owned());
        let wrapped = compute(move || key.wrap(&plain, &algorithm)).await;
        wrapped.map(Bytes::from).map_err(|e| Error(format!("failed to encrypt data: {e}")))
    }

    async fn unwrap_key(&self, wrapped: &[u8], algorithm: &str, name: &str) -> Result<Unwrapped, Error> {
        let key = self.key(name, "unwrapKey", algorithm).await?;
        let (wrapped, algorithm) = (wrapped.to_vec(), algorithm.to_owned());
        let plain = compute(move || key.unwrap(&wrapped, &algorithm)).await;
        plain.map_err(|e| Error(format!("failed to decrypt data: {e}")))
    }

    async fn close(&self) {
        self.0.close();
    }
}

/// A private RSA operation takes milliseconds: too long for a thread that
/// serves others.
async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WrapError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(ended) => Err(ended.to_string()),
    }
}
