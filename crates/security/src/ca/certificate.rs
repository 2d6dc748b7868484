//! Certificates: reading, checking who signed them, making them.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::{Any, AnyRef, BitString, OctetString, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::{AssociatedOid, db};
use x509_cert::der::{Decode, Encode, Reader, Sequence, SliceReader};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use super::key::{KeyError, SigningKey};
use super::public_key::PublicKey;
use crate::random;

/// Bytes of a random serial number.
const SERIAL_BYTES: usize = 16;
/// Bytes of a key identifier, the beginning of a hash (RFC 7093, method 1).
const KEY_ID_BYTES: usize = 20;
/// Length of a line of base64 in PEM.
const PEM_LINE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificates found")]
    None,
    #[error("the certificates are not valid PEM: {0}")]
    Pem(String),
    #[error("failed to parse certificate: {0}")]
    Parse(x509_cert::der::Error),
    #[error("failed to encode certificate: {0}")]
    Encode(#[from] x509_cert::der::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A parsed certificate and the bytes it came from.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(&der).map_err(CertificateError::Parse)?;
        Ok(Self { der, parsed })
    }

    /// All certificates in `pem`, at least one. Text around the blocks is
    /// ignored.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let ders = ders.map_err(|e| CertificateError::Pem(e.to_string()))?;
        if ders.is_empty() {
            return Err(CertificateError::None);
        }
        ders.into_iter().map(|der| Self::from_der(der.to_vec())).collect()
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn to_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.der)
    }

    pub fn not_before(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_before.to_system_time()
    }

    pub fn not_after(&self) -> SystemTime {
        self.parsed.tbs_certificate().validity().not_after.to_system_time()
    }

    pub(super) fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.not_before()..=self.not_after()).contains(&now)
    }

    pub(super) fn subject(&self) -> RdnSequence {
        self.parsed.tbs_certificate().subject().clone().into()
    }

    /// The organisation that it is about, if any.
    pub fn organization(&self) -> Option<String> {
        let name = self.parsed.tbs_certificate().subject().organization().ok()??;
        Some(name.value().into_owned())
    }

    pub(super) fn is_issued_by_name_of(&self, parent: &Self) -> bool {
        self.parsed.tbs_certificate().issuer() == parent.parsed.tbs_certificate().subject()
    }

    /// The key it is about; `None` for kinds that are not supported.
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_info(self.parsed.tbs_certificate().subject_public_key_info())
    }

    /// Whether `parent` may sign certificates and has signed this one.
    pub fn is_signed_by(&self, parent: &Self) -> bool {
        parent.may_sign() && self.signature_is_by(parent)
    }

    pub(super) fn is_self_signed(&self) -> bool {
        self.is_signed_by(self)
    }

    fn signature_is_by(&self, parent: &Self) -> bool {
        let (Some(key), Some(message)) = (parent.public_key(), signed_part(&self.der)) else { return false };
        let Some(signature) = self.parsed.signature().as_bytes() else { return false };
        key.verifies(self.parsed.signature_algorithm(), message, signature)
    }

    /// A version 3 CA, and a key usage, if any, that includes certificates.
    pub(super) fn may_sign(&self) -> bool {
        let tbs = self.parsed.tbs_certificate();
        let ca = self.extension::<BasicConstraints>().is_some_and(|constraints| constraints.ca);
        let usage = self.extension::<KeyUsage>();
        tbs.version() == Version::V3 && ca && usage.is_none_or(|usage| usage.key_cert_sign())
    }

    /// Most CA certificates that may follow below this one.
    pub(super) fn path_limit(&self) -> Option<u8> {
        self.extension::<BasicConstraints>().and_then(|constraints| constraints.path_len_constraint)
    }

    pub(super) fn key_id(&self) -> Option<OctetString> {
        self.extension::<SubjectKeyIdentifier>().map(|id| id.0)
    }

    fn extension<T: AssociatedOid + for<'a> Decode<'a>>(&self) -> Option<T> {
        let extensions = self.parsed.tbs_certificate().extensions()?;
        let found = extensions.iter().find(|extension| extension.extn_id == T::OID)?;
        T::from_der(found.extn_value.as_bytes()).ok()
    }
}

/// The first element of the outer sequence: what the signature is over.
pub(super) fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let contents = AnyRef::from_der(der).ok()?.value();
    let mut reader = SliceReader::new(contents).ok()?;
    AnyRef::decode(&mut reader).ok()?;
    contents.get(..usize::try_from(reader.position()).ok()?)
}

pub(super) fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_LINE));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// What is to be certified.
pub(super) struct Template<'a> {
    pub subject: RdnSequence,
    pub key: &'a PublicKey,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub extensions: Extensions,
}

/// RFC 5280, 4.1. The crate's own type cannot be made from outside.
#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: RdnSequence,
    validity: Validity,
    subject: RdnSequence,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

#[derive(Sequence)]
struct Signed {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// Signs what `template` says. `issuer` is the name of the signer.
pub(super) fn make(
    template: Template<'_>,
    issuer: RdnSequence,
    key: &SigningKey,
) -> Result<Certificate, CertificateError> {
    let algorithm = key.kind().certificate_algorithm();
    let tbs = Tbs {
        version: Version::V3,
        serial_number: serial()?,
        signature: algorithm.clone(),
        issuer,
        validity: Validity::new(time(template.not_before)?, time(template.not_after)?),
        subject: template.subject,
        subject_public_key_info: template.key.to_info()?,
        extensions: template.extensions,
    };
    let tbs = tbs.to_der()?;
    let signature = BitString::from_bytes(&key.sign_certificate(&tbs)?)?;
    Certificate::from_der(Signed { tbs: Any::from_der(&tbs)?, algorithm, signature }.to_der()?)
}

fn serial() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0; SERIAL_BYTES];
    random::fill(&mut bytes);
    Ok(SerialNumber::new(&bytes)?)
}

/// Whole seconds: certificates have no fractions.
fn time(at: SystemTime) -> Result<Time, x509_cert::der::Error> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::try_from(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

/// `O=<text>`.
pub(super) fn organization(text: &str) -> Result<RdnSequence, x509_cert::der::Error> {
    let value = match PrintableStringRef::new(text) {
        Ok(printable) => Any::from(printable),
        Err(_) => Any::from(Utf8StringRef::new(text)?),
    };
    let part = AttributeTypeAndValue { oid: db::rfc4519::O, value };
    let mut name = RdnSequence::default();
    name.push(RelativeDistinguishedName::try_from(vec![part])?);
    Ok(name)
}

pub(super) fn extension<T: Encode>(
    oid: x509_cert::der::asn1::ObjectIdentifier,
    critical: bool,
    value: &T,
) -> Result<Extension, x509_cert::der::Error> {
    Ok(Extension { extn_id: oid, critical, extn_value: OctetString::new(value.to_der()?)? })
}

pub(super) fn subject_key_id(key: &PublicKey) -> Result<Extension, x509_cert::der::Error> {
    let hash = Sha256::digest(key.bytes());
    let id = SubjectKeyIdentifier(OctetString::new(&hash[..KEY_ID_BYTES])?);
    extension(SubjectKeyIdentifier::OID, false, &id)
}

pub(super) fn authority_key_id(id: OctetString) -> Result<Extension, x509_cert::der::Error> {
    let id = AuthorityKeyIdentifier { key_identifier: Some(id), ..AuthorityKeyIdentifier::default() };
    extension(AuthorityKeyIdentifier::OID, false, &id)
}
