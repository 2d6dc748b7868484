//! Keys that wrap other keys, as key files, JWKs and PEM hold them
//! (components.md §9).

mod jwk;
mod pem;
#[cfg(test)]
mod tests;
mod wrap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rsa::{RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

pub use jwk::{KeySet, ParseSetError};

/// One key with what its holder says about its use.
#[derive(Clone)]
pub struct Key {
    material: Material,
    /// Operations that it is meant for; empty means any.
    operations: Vec<String>,
    /// `enc`, `sig` or empty.
    usage: String,
    /// The only algorithm it is meant for; empty means any.
    algorithm: String,
}

#[derive(Clone)]
enum Material {
    Symmetric(Zeroizing<Vec<u8>>),
    RsaPublic(RsaPublicKey),
    RsaPrivate(Box<RsaPrivateKey>),
    /// Elliptic curves: they can be held, but wrap no keys.
    Curve,
}

/// Shows no material.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.material {
            Material::Symmetric(_) => "symmetric",
            Material::RsaPublic(_) => "RSA public",
            Material::RsaPrivate(_) => "RSA private",
            Material::Curve => "elliptic curve",
        };
        f.debug_struct("Key").field("kind", &kind).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("key is empty")]
    Empty,
    #[error("invalid JWK: {0}")]
    Jwk(String),
    #[error("invalid PEM: {0}")]
    Pem(String),
}

/// Why a key cannot wrap or unwrap another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    #[error("unsupported algorithm")]
    UnsupportedAlgorithm,
    #[error("key type mismatch")]
    KeyTypeMismatch,
    #[error("key must be in 8-byte blocks")]
    Length,
    #[error("integrity check failed")]
    Integrity,
    #[error("the RSA operation failed: the message is too long for the key, or was made for another")]
    Rsa,
}

/// How the bytes of a key are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told by the bytes themselves.
    #[default]
    Unknown,
    Jwk,
    Pem,
}

impl Key {
    fn of(material: Material) -> Self {
        Self { material, operations: Vec::new(), usage: String::new(), algorithm: String::new() }
    }

    /// Reads a JWK, PEM or a symmetric key: raw or in base64.
    pub fn parse(raw: &[u8], format: Format) -> Result<Self, ParseError> {
        if raw.is_empty() {
            return Err(ParseError::Empty);
        }
        // A symmetric key of these lengths may begin with a brace by chance.
        let length_of_aes_key = matches!(raw.len(), 16 | 24 | 32);
        match format {
            Format::Jwk => jwk::parse(raw),
            Format::Pem => pem::parse(raw),
            Format::Unknown if raw[0] == b'{' && !length_of_aes_key => jwk::parse(raw),
            Format::Unknown if raw.len() > 10 && raw.starts_with(b"-----") => pem::parse(raw),
            Format::Unknown => Ok(Self::of(Material::Symmetric(symmetric(raw)))),
        }
    }

    /// Whether its holder allows `operation`, such as `wrapKey`.
    pub fn allows(&self, operation: &str) -> bool {
        if !self.operations.is_empty() && !self.operations.iter().any(|o| o == operation) {
            return false;
        }
        match (self.usage.as_str(), operation) {
            ("", _) => true,
            (usage, "encrypt" | "decrypt" | "wrapKey" | "unwrapKey") => usage == "enc",
            (usage, "sign" | "verify") => usage == "sig",
            _ => true,
        }
    }

    /// Whether its holder allows the algorithm.
    pub fn allows_algorithm(&self, algorithm: &str) -> bool {
        self.algorithm.is_empty() || self.algorithm == algorithm
    }
}

/// Base64 of either alphabet, with or without padding; else the bytes.
fn symmetric(raw: &[u8]) -> Zeroizing<Vec<u8>> {
    let end = raw.iter().rposition(|b| !matches!(b, b'\n' | b'=')).map_or(0, |last| last + 1);
    let text = &raw[..end];
    let decoded = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    Zeroizing::new(decoded.unwrap_or_else(|_| raw.to_vec()))
}
