//! TLS for the authority's own servers: one certificate, no client
//! certificates, replaceable while connections are open.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use dapr_transport::server::Securer;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, CertificateError};
use super::key::{KeyError, SigningKey};
use crate::mtls;
use crate::tls::provider;

#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("tls: private key does not match public key")]
    Mismatch,
    #[error("a P-521 key cannot serve TLS; use a P-256, P-384, RSA or Ed25519 key")]
    P521,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificate that a server shows. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<Current>);

#[derive(Debug, Default)]
struct Current(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl Serving {
    /// New handshakes get this certificate. `chain` begins with the leaf.
    pub fn set(&self, chain: &[Certificate], key: &SigningKey) -> Result<(), ServingError> {
        let leaf = chain.first().ok_or(CertificateError::None)?;
        if leaf.public_key().as_ref() != Some(key.public()) {
            return Err(ServingError::Mismatch);
        }
        let key = key.for_tls().ok_or(ServingError::P521)?;
        let chain = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
        self.0.0.store(Some(Arc::new(CertifiedKey::new(chain, key))));
        Ok(())
    }

    /// As [`Serving::set`], from PEM.
    pub fn set_pem(&self, chain: &[u8], key: &[u8]) -> Result<(), ServingError> {
        self.set(&Certificate::all_from_pem(chain)?, &SigningKey::from_pem(key)?)
    }

    /// For servers that speak one of `protocols`, most wanted first.
    pub fn securer(&self, protocols: &[&[u8]]) -> Result<Securer, ServingError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        Ok(mtls::securer(Arc::new(config)))
    }
}
