//! Secured connections, as `sslmode` asks for them.

use dapr_components::InitError;
use dapr_security::tls::{self, ClientTls, Verify};
use tokio_postgres_rustls::MakeRustlsConnect;

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
        let options = ClientTls {
            root_ca_pem: self.roots.clone(),
            cert_pem: self.certificate.clone(),
            key_pem: self.key.clone(),
            verify: self.verify,
            ..ClientTls::default()
        };
        let config =
            tls::client_config(&options).map_err(|e| InitError::new(format!("failed to set up TLS: {e}")))?;
        Ok(MakeRustlsConnect::new(tls::rustls::ClientConfig::clone(&config)))
    }
}
