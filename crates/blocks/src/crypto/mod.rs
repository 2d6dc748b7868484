//! Cryptography: documents encrypted and decrypted with keys that stay with a
//! provider (api.md §2.7).

mod service;
mod stream;
#[cfg(test)]
mod tests;

pub use service::{CryptoService, Encryption, Options, Provider};
pub use stream::{CryptoError, Processed};
