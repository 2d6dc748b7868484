//! What our rules need to know of a certificate.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::rotation::{Time, Validity};
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
        let malformed = |reason: &dyn std::fmt::Display| Error::Malformed(reason.to_string());
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| malformed(&e))?;
        if !rest.is_empty() {
            return Err(malformed(&"there is something after it"));
        }
        let mut facts = Self {
            validity: Validity {
                not_before: time(certificate.validity().not_before.timestamp()),
                not_after: time(certificate.validity().not_after.timestamp()),
            },
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            uris: Vec::new(),
            is_ca: false,
            signs_certificates: false,
            signs_revocations: false,
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    facts.uris.extend(names.general_names.iter().filter_map(|name| match name {
                        GeneralName::URI(uri) => Some((*uri).to_owned()),
                        _ => None,
                    }));
                }
                ParsedExtension::BasicConstraints(constraints) => facts.is_ca |= constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    facts.signs_certificates |= usage.key_cert_sign();
                    facts.signs_revocations |= usage.crl_sign();
                }
                ParsedExtension::ParseError { error } => return Err(malformed(error)),
                _ => {}
            }
        }
        Ok(facts)
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

/// Times before 1970 count as 1970: both are long over.
fn time(seconds: i64) -> Time {
    Time::from_seconds(u64::try_from(seconds).unwrap_or(0))
}
