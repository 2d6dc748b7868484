//! Secured connections, as `sslmode` asks for them.

use std::sync::Arc;

use dapr_components::InitError;
use dapr_security::tls::{self, ClientTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    None,
    /// That it leads to a trusted root, whatever name it carries.
    Chain,
    ChainAndName,
}

#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    /// PEM files; roots of the system when absent.
    pub(crate) roots: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) verify: Verify,
}

impl TlsSettings {
    pub(crate) fn connector(&self) -> Result<MakeRustlsConnect, InitError> {
        let failed = |reason: String| InitError::new(format!("failed to set up TLS: {reason}"));
        let options = ClientTls {
            root_ca_pem: self.roots.clone(),
            cert_pem: self.certificate.clone(),
            key_pem: self.key.clone(),
            verify: if self.verify == Verify::None { tls::Verify::None } else { tls::Verify::Roots },
            ..ClientTls::default()
        };
        let config = tls::client_config(&options).map_err(|e| failed(e.to_string()))?;
        let mut config = ClientConfig::clone(&config);
        if self.verify == Verify::Chain {
            let verifier = AnyName(self.chain_verifier().map_err(failed)?);
            config.dangerous().set_certificate_verifier(Arc::new(verifier));
        }
        Ok(MakeRustlsConnect::new(config))
    }

    fn chain_verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let Some(path) = &self.roots else { return Ok(Arc::new(tls::NativeRoots::default())) };
        let pem = if path.contains("-----BEGIN ") {
            path.clone().into_bytes()
        } else {
            std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| format!("no certificates in {path}: {e}"))?;
            roots.add(certificate).map_err(|e| format!("{path}: {e}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|e| e.to_string())
    }
}

/// Forgives a wrong name, which is looked at after everything else.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
