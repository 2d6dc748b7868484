//! TLS towards others: HTTP endpoints, app channels with `https` or `grpcs`.

mod connector;
pub(crate) mod read_ahead;
mod roots;
#[cfg(test)]
mod tests;
pub(crate) mod verifier;

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedProtocolVersion, version};

pub use connector::{ConnectError, Connector, TlsStream};
pub use roots::NativeRoots;
pub use rustls;

use crate::pem::{self, Role};
use roots::{Anyone, Roots};
use verifier::{Judge, Verifier};

/// How the certificate of the server is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It must lead to a trusted root and carry the name of the server.
    #[default]
    Roots,
    /// It must lead to a trusted root, whatever name it carries: what
    /// databases call verifying the CA.
    RootsAnyName,
    /// Any certificate will do. Only for the application's own port: the
    /// sidecar shares its host or pod, and what it shows there is typically
    /// self-signed (runtime.md §5).
    None,
}

/// Oldest protocol version that is spoken. rustls knows none older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

/// What a TLS client needs. PEMs are text or the path of a file; an empty one
/// counts as absent.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// Trusted roots, in place of those of the system.
    pub root_ca_pem: Option<String>,
    /// Own certificate chain, leaf first; goes with `key_pem`.
    pub cert_pem: Option<String>,
    pub key_pem: Option<String>,
    pub verify: Verify,
    pub min_version: MinVersion,
    /// Protocols offered, most wanted first, such as `h2` and `http/1.1`.
    pub alpn: Vec<Vec<u8>>,
    /// Roots of the system, for when `root_ca_pem` is absent. Clones share
    /// what was loaded.
    pub native_roots: NativeRoots,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pem(#[from] pem::Error),
    #[error("certificate {number} of the root CA cannot be a trust anchor: {source}")]
    RootCa { number: usize, source: rustls::Error },
    #[error("a client certificate needs both certificate and private key; the {0} is missing")]
    Incomplete(Role),
    #[error("certificate and private key do not fit together, or the key is of no supported kind: {0}")]
    Identity(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Builds the configuration. Reads files and parses PEMs, so once per target,
/// never per connection; the roots of the system wait for the first handshake.
pub fn client_config(options: &ClientTls) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(options.min_version))
        .map_err(Error::Setup)?
        .dangerous();
    let any_name = options.verify == Verify::RootsAnyName;
    let builder =
        builder.with_custom_certificate_verifier(match (options.verify, given(&options.root_ca_pem)) {
            (Verify::None, _) => judged_by(Anyone),
            (_, Some(pem)) => judged_by(Roots::given(roots(pem)?, any_name).map_err(Error::Setup)?),
            (_, None) => judged_by(Roots::system(options.native_roots.clone(), any_name)),
        });
    let mut config = match (given(&options.cert_pem), given(&options.key_pem)) {
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(Error::Incomplete(Role::PrivateKey)),
        (None, Some(_)) => return Err(Error::Incomplete(Role::Certificate)),
        (Some(chain), Some(key)) => {
            let chain = pem::certificates(Role::Certificate, chain)?;
            builder.with_client_auth_cert(chain, pem::private_key(key)?).map_err(Error::Identity)?
        }
    };
    config.alpn_protocols.clone_from(&options.alpn);
    Ok(Arc::new(config))
}

fn judged_by(judge: impl Judge) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier::new(judge))
}

/// Always named, never the process default: nothing else in the program may
/// decide which cryptography this is.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    // AES-128 before AES-256, as Go's peers have it: the same safety in practice for less work. The sort is
    // stable, so that versions and the rest keep their order.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

const TLS13_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS13];

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        MinVersion::Tls12 => rustls::ALL_VERSIONS,
        MinVersion::Tls13 => TLS13_ONLY,
    }
}

fn given(pem: &Option<String>) -> Option<&str> {
    pem.as_deref().filter(|text| !text.trim().is_empty())
}

fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in pem::certificates(Role::RootCa, pem)?.into_iter().enumerate() {
        store.add(certificate).map_err(|source| Error::RootCa { number: index + 1, source })?;
    }
    Ok(store)
}
