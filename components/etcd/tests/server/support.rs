//! Certificates for an etcd server with TLS.

use dapr_test_servers::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A root, and whom it signed for, as PEM.
pub struct Identities {
    pub root: String,
    /// Carries `localhost`.
    pub certificate: String,
    pub key: String,
}

impl Identities {
    pub fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        Self { root: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn for_server(&self) -> Identity<'_> {
        Identity { root: &self.root, certificate: &self.certificate, key: &self.key }
    }

    /// Metadata of a component that trusts `root` and is this one.
    pub fn metadata<'a>(&'a self, root: &'a str) -> [(&'a str, &'a str); 4] {
        [("tlsEnable", "true"), ("ca", root), ("cert", &self.certificate), ("key", &self.key)]
    }
}
