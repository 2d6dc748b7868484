//! Keys in PEM: PKCS#8, PKCS#1, SubjectPublicKeyInfo and certificates.

use der::{Decode, Encode};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, PrivateKeyInfoRef};
use rsa::{RsaPrivateKey, RsaPublicKey};
use rustls_pki_types::pem::{self, SectionKind};
use x509_cert::Certificate;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::{Key, Material, ParseError};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The first key of the text.
pub(super) fn parse(text: &[u8]) -> Result<Key, ParseError> {
    let mut rest = std::io::Cursor::new(text);
    loop {
        let section = pem::from_buf(&mut rest).map_err(|e| invalid(format!("{e:?}")))?;
        let Some((kind, der)) = section else { return Err(invalid("no key in it")) };
        let material = match kind {
            SectionKind::PrivateKey => pkcs8(&der)?,
            SectionKind::RsaPrivateKey => private(RsaPrivateKey::from_pkcs1_der(&der).map_err(invalid)?),
            SectionKind::PublicKey => spki(&der)?,
            SectionKind::Certificate => {
                let certificate = Certificate::from_der(&der).map_err(invalid)?;
                spki(&certificate.tbs_certificate().subject_public_key_info().to_der().map_err(invalid)?)?
            }
            SectionKind::EcPrivateKey => Material::Curve,
            _ => continue,
        };
        return Ok(Key::of(material));
    }
}

fn pkcs8(der: &[u8]) -> Result<Material, ParseError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(invalid)?;
    if info.algorithm.oid.as_bytes() != RSA.as_bytes() {
        return Ok(Material::Curve);
    }
    RsaPrivateKey::from_pkcs8_der(der).map(private).map_err(invalid)
}

fn spki(der: &[u8]) -> Result<Material, ParseError> {
    let info = SubjectPublicKeyInfoOwned::from_der(der).map_err(invalid)?;
    if info.algorithm.oid != RSA {
        return Ok(Material::Curve);
    }
    RsaPublicKey::from_public_key_der(der).map(Material::RsaPublic).map_err(invalid)
}

fn private(key: RsaPrivateKey) -> Material {
    Material::RsaPrivate(Box::new(key))
}

fn invalid(reason: impl std::fmt::Display) -> ParseError {
    ParseError::Pem(reason.to_string())
}
