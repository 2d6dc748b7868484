//! Client side of TLS as the metadata asks for it.

use std::sync::Arc;

use dapr_components::{InitError, Properties};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Checked material; the certificates of the system are only read when the
/// first `https` call is made.
#[derive(Default)]
pub(crate) struct TlsSettings {
    /// Trusted instead of the system's.
    roots: Option<RootCertStore>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl TlsSettings {
    pub(crate) async fn parse(properties: &Properties) -> Result<Self, InitError> {
        let text = |name: &str| properties.get(name).filter(|v| !v.is_empty());
        let roots = match text("MTLSRootCA") {
            None => None,
            Some(given) => Some(roots(&pem("MTLSRootCA", given).await?)?),
        };
        let client = match (text("MTLSClientCert"), text("MTLSClientKey")) {
            (Some(certificate), Some(key)) => {
                let certificate = pem("MTLSClientCert", certificate).await?;
                Some(identity(&certificate, &pem("MTLSClientKey", key).await?)?)
            }
            _ => None,
        };
        if let Some(renegotiation) = text("MTLSRenegotiation") {
            check_renegotiation(renegotiation)?;
        }
        let settings = Self { roots, client };
        if settings.client.is_some() {
            // A key that does not belong to its certificate shows here.
            settings.config()?;
        }
        Ok(settings)
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, InitError> {
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| InitError::new(format!("failed to set up TLS: {e}")))?
            .with_root_certificates(roots);
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|e| InitError::new(format!("failed to load client certificate: {e}"))),
        }
    }
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(
            target: "dapr.contrib",
            "HTTP binding: a certificate of the system can not be used: {error}"
        );
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    store
}

/// The value itself when it is PEM text, else the file that it names.
async fn pem(name: &str, given: &str) -> Result<Vec<u8>, InitError> {
    if given.contains("-----BEGIN ") {
        return Ok(given.as_bytes().to_vec());
    }
    tokio::fs::read(given).await.map_err(|e| {
        InitError::new(format!(
            "provided \"{name}\" value is neither a valid file path or nor a valid pem encoded string: open \
             {given}: {e}"
        ))
    })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, InitError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    if store.is_empty() {
        return Err(InitError::new("failed to add root certificate to certpool"));
    }
    Ok(store)
}

fn identity(
    certificate: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InitError> {
    let failed = |reason: String| InitError::new(format!("failed to load client certificate: {reason}"));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|e| failed(e.to_string()))?;
    if chain.is_empty() {
        return Err(failed("MTLSClientCert holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| failed(e.to_string()))?;
    Ok((chain, key))
}

fn check_renegotiation(value: &str) -> Result<(), InitError> {
    match value {
        "RenegotiateNever" => Ok(()),
        "RenegotiateOnceAsClient" | "RenegotiateFreelyAsClient" => {
            tracing::warn!(
                target: "dapr.contrib",
                "HTTP binding: MTLSRenegotiation {value} has no effect: this build never renegotiates, a call \
                 to a server that demands it fails"
            );
            Ok(())
        }
        other => Err(InitError::new(format!("invalid renegotiation value: {other}"))),
    }
}
