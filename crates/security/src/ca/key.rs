//! Private keys: reading, making, signing.

use std::fmt;
use std::sync::Arc;

use p521::ecdsa::signature::Signer as _;
use p521::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::algorithm::{JwsAlgorithm, KeyKind};
use super::public_key::PublicKey;
use crate::random;
use crate::rsa_key;

/// PKCS#8 of an Ed25519 key is this and the 32 bytes of its seed.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const ED25519_SEED: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key is not PEM encoded")]
    NotPem,
    #[error("failed to parse private key: it is no RSA (from 2048 bits), ECDSA or Ed25519 key")]
    Unsupported,
    #[error("failed to generate a key: {0}")]
    Generate(String),
    #[error("failed to sign: {0}")]
    Sign(String),
}

/// A private key that signs. Cloning shares it.
#[derive(Clone)]
pub struct SigningKey {
    inner: Inner,
    public: PublicKey,
}

#[derive(Clone)]
enum Inner {
    Rustls(Arc<dyn rustls::sign::SigningKey>),
    /// rustls with ring has no P-521, which files of users may hold.
    P521(Arc<p521::ecdsa::SigningKey>),
}

impl SigningKey {
    /// The first private key in `pem`: PKCS#8, PKCS#1 or SEC1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        Self::from_der(&der)
    }

    fn from_der(der: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let inner = match any_supported_type(der) {
            Ok(key) => Inner::Rustls(key),
            Err(_) => Inner::P521(Arc::new(p521_key(der)?)),
        };
        let spki = match &inner {
            Inner::Rustls(key) => key.public_key().ok_or(KeyError::Unsupported)?.as_ref().to_vec(),
            Inner::P521(key) => {
                let public = key.verifying_key().to_public_key_der().map_err(|_| KeyError::Unsupported)?;
                public.into_vec()
            }
        };
        let public = PublicKey::from_spki(&spki).ok_or(KeyError::Unsupported)?;
        Ok(Self { inner, public })
    }

    /// A fresh Ed25519 key, and its PKCS#8 form in PEM.
    pub fn generate_ed25519() -> Result<(Self, String), KeyError> {
        let mut der = ED25519_PKCS8.to_vec();
        der.resize(ED25519_PKCS8.len() + ED25519_SEED, 0);
        random::fill(&mut der[ED25519_PKCS8.len()..]);
        Self::with_pem(&der)
    }

    /// A fresh ECDSA key on P-256, and its PKCS#8 form in PEM.
    pub fn generate_p256() -> Result<(Self, String), KeyError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|e| KeyError::Generate(e.to_string()))?;
        Self::with_pem(&pair.serialize_der())
    }

    /// A fresh RSA key, and its PKCS#8 form in PEM. Takes up to seconds.
    pub fn generate_rsa() -> Result<(Self, String), KeyError> {
        let der = rsa_key::generate().map_err(KeyError::Generate)?;
        Self::with_pem(der.secret_pkcs8_der())
    }

    fn with_pem(pkcs8: &[u8]) -> Result<(Self, String), KeyError> {
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8));
        Ok((Self::from_der(&der)?, super::certificate::to_pem("PRIVATE KEY", pkcs8)))
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn kind(&self) -> KeyKind {
        self.public.kind()
    }

    /// For a certificate, with the algorithm that fits the key.
    pub(super) fn sign_certificate(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.inner {
            Inner::Rustls(key) => sign(&**key, self.kind().certificate_scheme(), message),
            Inner::P521(key) => {
                let signature: p521::ecdsa::DerSignature =
                    key.try_sign(message).map_err(|e| KeyError::Sign(e.to_string()))?;
                Ok(signature.as_bytes().to_vec())
            }
        }
    }

    /// For a token. The caller has checked that algorithm and key fit.
    pub(super) fn sign_token(&self, algorithm: JwsAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        algorithm.check(self.kind()).map_err(KeyError::Sign)?;
        match (&self.inner, self.kind().field_bytes()) {
            (Inner::P521(key), _) => {
                let signature: p521::ecdsa::Signature =
                    key.try_sign(message).map_err(|e| KeyError::Sign(e.to_string()))?;
                Ok(signature.to_bytes().to_vec())
            }
            (Inner::Rustls(key), None) => sign(&**key, algorithm.scheme(), message),
            (Inner::Rustls(key), Some(width)) => {
                let der = sign(&**key, algorithm.scheme(), message)?;
                super::public_key::fixed_signature(&der, width)
                    .ok_or_else(|| KeyError::Sign("the signature has an unexpected form".to_owned()))
            }
        }
    }

    /// For a TLS server; `None` for P-521, which rustls does not serve with.
    pub(super) fn for_tls(&self) -> Option<Arc<dyn rustls::sign::SigningKey>> {
        match &self.inner {
            Inner::Rustls(key) => Some(key.clone()),
            Inner::P521(_) => None,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

fn sign(
    key: &dyn rustls::sign::SigningKey,
    scheme: Option<SignatureScheme>,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let signer = scheme.and_then(|scheme| key.choose_scheme(&[scheme]));
    let signer = signer.ok_or_else(|| KeyError::Sign("the key does not fit the algorithm".to_owned()))?;
    signer.sign(message).map_err(|e| KeyError::Sign(e.to_string()))
}

fn p521_key(der: &PrivateKeyDer<'_>) -> Result<p521::ecdsa::SigningKey, KeyError> {
    let secret = match der {
        PrivateKeyDer::Pkcs8(der) => p521::SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(der) => p521::SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
        _ => None,
    };
    secret.map(|secret| p521::ecdsa::SigningKey::from(&secret)).ok_or(KeyError::Unsupported)
}

/// Random bytes as lower-case hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    random::fill(&mut buffer);
    buffer.iter().map(|b| format!("{b:02x}")).collect()
}
