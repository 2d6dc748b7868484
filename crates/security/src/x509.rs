//! What our rules need to know of a certificate.

use rustls_pki_types::CertificateDer;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{self, Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use crate::rotation::Validity;
use crate::spiffe::{self, SpiffeId};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    #[error("certificate contains no URI SAN")]
    NoUri,
    #[error("certificate contains more than one URI SAN")]
    ManyUris,
    #[error("the URI SAN is no SPIFFE ID of Dapr: {0}")]
    Id(#[from] spiffe::Error),
    #[error("leaf certificate with CA flag set to true")]
    LeafIsCa,
    #[error("leaf certificate with {0} key usage")]
    LeafSigns(&'static str),
}

/// The facts of one certificate.
#[derive(Clone, Debug)]
pub struct Facts {
    pub validity: Validity,
    /// Encoded names.
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    /// URI subject alternative names, in order.
    pub uris: Vec<String>,
    pub is_ca: bool,
    pub signs_certificates: bool,
    pub signs_revocations: bool,
}

impl Facts {
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, Error> {
        Self::decode(der).map_err(|e| Error::Malformed(e.to_string()))
    }

    fn decode(der: &[u8]) -> der::Result<Self> {
        let certificate = x509_cert::Certificate::from_der(der)?;
        let certificate = certificate.tbs_certificate();
        let mut facts = Self {
            validity: Validity {
                not_before: certificate.validity().not_before.to_system_time().into(),
                not_after: certificate.validity().not_after.to_system_time().into(),
            },
            subject: certificate.subject().to_der()?,
            issuer: certificate.issuer().to_der()?,
            uris: Vec::new(),
            is_ca: false,
            signs_certificates: false,
            signs_revocations: false,
        };
        certificate.extensions().into_iter().flatten().try_for_each(|extension| facts.note(extension))?;
        Ok(facts)
    }

    fn note(&mut self, extension: &Extension) -> der::Result<()> {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            SubjectAltName::OID => {
                let names = SubjectAltName::from_der(value)?.0;
                self.uris.extend(names.into_iter().filter_map(|name| match name {
                    GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
                    _ => None,
                }));
            }
            BasicConstraints::OID => self.is_ca |= BasicConstraints::from_der(value)?.ca,
            KeyUsage::OID => {
                let usage = KeyUsage::from_der(value)?;
                self.signs_certificates |= usage.key_cert_sign();
                self.signs_revocations |= usage.crl_sign();
            }
            _ => {}
        }
        Ok(())
    }

    /// The identity: of exactly one URI.
    pub fn spiffe_id(&self) -> Result<SpiffeId, Error> {
        match self.uris.as_slice() {
            [] => Err(Error::NoUri),
            [uri] => Ok(SpiffeId::parse(uri)?),
            _ => Err(Error::ManyUris),
        }
    }

    /// A certificate that proves an identity must not be able to make others.
    pub fn check_leaf(&self) -> Result<(), Error> {
        if self.is_ca {
            return Err(Error::LeafIsCa);
        }
        if self.signs_certificates {
            return Err(Error::LeafSigns("KeyCertSign"));
        }
        if self.signs_revocations {
            return Err(Error::LeafSigns("KeyCrlSign"));
        }
        Ok(())
    }
}
