//! Certificate requests. Only their public key counts: names that a request
//! asks for are decided by whoever authenticated it.

use rustls_pki_types::pem::{self, SectionKind};
use x509_cert::der::Decode;
use x509_cert::request::CertReq;

use super::certificate::signed_part;
use super::public_key::PublicKey;

/// Why a request is refused; the texts are those that clients see.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    #[error("invalid certificate signing request")]
    Pem,
    #[error("failed to parse certificate signing request: {0}")]
    Parse(String),
    #[error("invalid signature")]
    Signature,
}

const KINDS: &str = "the public key is of no supported kind: RSA, ECDSA on P-256, P-384 or P-521, or Ed25519";

/// The public key of a request in PEM, once the request proved to have the
/// private one. The label `CERTIFICATE` is what Dapr before 1.12 writes.
pub fn public_key_of(pem: &[u8]) -> Result<PublicKey, CsrError> {
    let der = match pem::from_buf(&mut &*pem) {
        Ok(Some((SectionKind::Csr | SectionKind::Certificate, der))) => der,
        _ => return Err(CsrError::Pem),
    };
    let request = CertReq::from_der(&der).map_err(|e| CsrError::Parse(e.to_string()))?;
    let key =
        PublicKey::from_info(&request.info.public_key).ok_or_else(|| CsrError::Parse(KINDS.to_owned()))?;
    if let Some(reason) = key.refusal() {
        return Err(CsrError::Parse(reason.to_owned()));
    }
    let message = signed_part(&der).ok_or(CsrError::Pem)?;
    let signature = request.signature.as_bytes().ok_or(CsrError::Signature)?;
    if key.verifies(&request.algorithm, message, signature) { Ok(key) } else { Err(CsrError::Signature) }
}
