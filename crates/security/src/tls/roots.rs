//! The ways to judge a server of somebody else: by the roots of the system, by
//! given ones, or not at all.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::provider;
use super::verifier::{Judge, Shown};

/// The roots that the system trusts, read at the first handshake that needs
/// them: they cost milliseconds and a good part of a megabyte, and most
/// sidecars never do. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct NativeRoots(Arc<OnceLock<Result<Arc<WebPkiServerVerifier>, String>>>);

impl NativeRoots {
    fn verifier(&self) -> Result<&Arc<WebPkiServerVerifier>, Error> {
        self.0.get_or_init(load).as_ref().map_err(|reason| Error::General(reason.clone()))
    }

    /// Whether a handshake has needed them.
    pub fn is_loaded(&self) -> bool {
        self.0.get().is_some()
    }
}

fn load() -> Result<Arc<WebPkiServerVerifier>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let detail = if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") };
        return Err(format!(
            "no trusted root certificates on this system ({detail}): install the package of CA certificates, \
             set SSL_CERT_FILE, or give a root CA"
        ));
    }
    path_builder(roots).map_err(|e| e.to_string())
}

fn path_builder(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))
}

#[derive(Debug)]
enum Trusted {
    System(NativeRoots),
    Given(Arc<WebPkiServerVerifier>),
}

/// Asks for a path to a trusted root and, unless told otherwise, for the name.
#[derive(Debug)]
pub(super) struct Roots {
    trusted: Trusted,
    any_name: bool,
}

impl Roots {
    pub fn system(roots: NativeRoots, any_name: bool) -> Self {
        Self { trusted: Trusted::System(roots), any_name }
    }

    pub fn given(roots: RootCertStore, any_name: bool) -> Result<Self, Error> {
        Ok(Self { trusted: Trusted::Given(path_builder(roots)?), any_name })
    }
}

impl Judge for Roots {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let verifier = match &self.trusted {
            Trusted::System(roots) => roots.verifier()?,
            Trusted::Given(verifier) => verifier,
        };
        let Some(server) = shown.server else {
            return Err(Error::General("these roots judge servers only".to_owned()));
        };
        let Shown { leaf, intermediates, ocsp, now, .. } = *shown;
        match verifier.verify_server_cert(leaf, intermediates, server, ocsp, now) {
            // The name is looked at after everything else.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(()),
            judged => judged.map(drop),
        }
    }
}

/// Accepts every certificate; see [`super::Verify::None`].
///
/// Signatures are not looked at either: without a known certificate they prove
/// nothing, and certificates that developers make by hand are often such (X.509
/// version 1) that no key can be read from them here.
#[derive(Debug)]
pub(super) struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &Shown<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn wants_signatures(&self) -> bool {
        false
    }
}
