//! Crypto providers (components.md §9). Keys stay with the provider: it is
//! asked to wrap the keys of others and to take the wrapping off.

use async_trait::async_trait;
use bytes::Bytes;
use zeroize::Zeroizing;

/// A key without its wrapping; its memory is cleared when it is dropped.
pub type Unwrapped = Zeroizing<Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// A crypto provider that is ready for use.
#[async_trait]
pub trait CryptoProvider: Send + Sync + 'static {
    fn features(&self) -> &[&'static str] {
        &[]
    }

    /// Wraps a symmetric key with the key called `name`. `algorithm` is a name
    /// of RFC 7518, such as `A256KW`.
    async fn wrap_key(&self, plain: &[u8], algorithm: &str, name: &str) -> Result<Bytes, Error>;

    async fn unwrap_key(&self, wrapped: &[u8], algorithm: &str, name: &str) -> Result<Unwrapped, Error>;

    async fn close(&self) {}
}
