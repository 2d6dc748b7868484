//! Public keys: their forms, and checking signatures with them.

use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::der::asn1::{BitString, Uint, UintRef};
use x509_cert::der::oid::db;
use x509_cert::der::{Decode, Encode, Sequence};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::algorithm::{JwsAlgorithm, KeyKind};
use crate::tls::provider;

/// Sizes of RSA keys that ring checks signatures with.
const MIN_RSA_BYTES: usize = 256;
const MAX_RSA_BYTES: usize = 1024;
/// Begins the bytes of a point that is not compressed.
const UNCOMPRESSED: u8 = 4;

/// A public key of a supported kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// `RSAPublicKey` in DER, a point, or the 32 bytes of an Ed25519 key.
    bytes: Vec<u8>,
}

/// RFC 8017, A.1.1.
#[derive(Sequence)]
struct RsaParts<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

/// RFC 3279, 2.2.3.
#[derive(Sequence)]
struct EcdsaParts {
    r: Uint,
    s: Uint,
}

impl PublicKey {
    /// From a `SubjectPublicKeyInfo` in DER; `None` for other kinds of keys.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        Self::from_info(&SubjectPublicKeyInfoOwned::from_der(der).ok()?)
    }

    pub(super) fn from_info(info: &SubjectPublicKeyInfoOwned) -> Option<Self> {
        let kind = KeyKind::of(&info.algorithm)?;
        let bytes = info.subject_public_key.as_bytes()?.to_vec();
        let valid = match kind {
            KeyKind::Rsa => RsaParts::from_der(&bytes).is_ok(),
            KeyKind::Ed25519 => bytes.len() == 32,
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => {
                bytes.first() == Some(&UNCOMPRESSED) && Some((bytes.len() - 1) / 2) == kind.field_bytes()
            }
        };
        valid.then_some(Self { kind, bytes })
    }

    pub(super) fn from_rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let parts = RsaParts { n: UintRef::new(n).ok()?, e: UintRef::new(e).ok()? };
        Some(Self { kind: KeyKind::Rsa, bytes: parts.to_der().ok()? })
    }

    pub(super) fn from_point(kind: KeyKind, x: &[u8], y: &[u8]) -> Option<Self> {
        let width = kind.field_bytes()?;
        if x.len() != width || y.len() != width {
            return None;
        }
        Some(Self { kind, bytes: [&[UNCOMPRESSED], x, y].concat() })
    }

    pub(super) fn from_ed25519(x: &[u8]) -> Option<Self> {
        (x.len() == 32).then(|| Self { kind: KeyKind::Ed25519, bytes: x.to_vec() })
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Contents of the bit string of the `SubjectPublicKeyInfo`.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Modulus and exponent of an RSA key, without leading zeros.
    pub(super) fn rsa_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        if self.kind != KeyKind::Rsa {
            return None;
        }
        let parts = RsaParts::from_der(&self.bytes).ok()?;
        Some((parts.n.as_bytes().to_vec(), parts.e.as_bytes().to_vec()))
    }

    /// The coordinates of a point.
    pub(super) fn point(&self) -> Option<(&[u8], &[u8])> {
        let width = self.kind.field_bytes()?;
        Some(self.bytes.get(1..)?.split_at(width))
    }

    pub(super) fn to_info(&self) -> x509_cert::der::Result<SubjectPublicKeyInfoOwned> {
        Ok(SubjectPublicKeyInfoOwned {
            algorithm: self.kind.spki_algorithm(),
            subject_public_key: BitString::from_bytes(&self.bytes)?,
        })
    }

    /// Whether `signature` over `message` in a certificate or request is by
    /// this key. False also for algorithms that are too weak or unknown.
    pub(super) fn verifies(
        &self,
        algorithm: &AlgorithmIdentifierOwned,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if self.kind == KeyKind::P521 {
            let Ok(signature) = p521::ecdsa::Signature::from_der(signature) else { return false };
            let hash = match algorithm.oid {
                db::rfc5912::ECDSA_WITH_SHA_256 => Sha256::digest(message).to_vec(),
                db::rfc5912::ECDSA_WITH_SHA_384 => Sha384::digest(message).to_vec(),
                db::rfc5912::ECDSA_WITH_SHA_512 => Sha512::digest(message).to_vec(),
                _ => return false,
            };
            return self.verifies_p521(&hash, &signature);
        }
        let (Some(key_id), Some(signature_id)) = (contents(&self.kind.spki_algorithm()), contents(algorithm))
        else {
            return false;
        };
        provider().signature_verification_algorithms.all.iter().any(|candidate| {
            *candidate.public_key_alg_id() == *key_id
                && *candidate.signature_alg_id() == *signature_id
                && candidate.verify_signature(&self.bytes, message, signature).is_ok()
        })
    }

    /// Whether `signature` of a token is by this key.
    pub(super) fn verifies_token(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        if algorithm.check(self.kind).is_err() {
            return false;
        }
        if self.kind == KeyKind::P521 {
            return p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| self.verifies_p521(&Sha512::digest(message), &signature));
        }
        let Some(scheme) = algorithm.scheme() else { return false };
        let der = match self.kind.field_bytes() {
            Some(width) => match der_signature(signature, width) {
                Some(der) => der,
                None => return false,
            },
            None => signature.to_vec(),
        };
        let mapping = provider().signature_verification_algorithms.mapping;
        let candidates = mapping.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, all)| all.iter());
        let Some(key_id) = contents(&self.kind.spki_algorithm()) else { return false };
        candidates.into_iter().any(|candidate| {
            *candidate.public_key_alg_id() == *key_id
                && candidate.verify_signature(&self.bytes, message, &der).is_ok()
        })
    }

    fn verifies_p521(&self, hash: &[u8], signature: &p521::ecdsa::Signature) -> bool {
        p521::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes)
            .is_ok_and(|key| key.verify_prehash(hash, signature).is_ok())
    }

    /// Why signatures of this key are not checked, if so: an RSA key that is too
    /// short to trust or so long that checking is an attack.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        let (modulus, _) = self.rsa_parts()?;
        let fits = (MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&modulus.len());
        (!fits).then_some("RSA keys must have from 2048 to 8192 bits")
    }
}

/// An `AlgorithmIdentifier` without its outer tag, which is how rustls names
/// algorithms.
fn contents(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = algorithm.to_der().ok()?;
    // Shorter than 128 bytes, so tag and length take two.
    der.get(2..).map(<[u8]>::to_vec)
}

/// `r` and `s` side by side, as tokens have them.
pub(super) fn fixed_signature(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let parts = EcdsaParts::from_der(der).ok()?;
    let mut out = vec![0; 2 * width];
    for (value, part) in [(&parts.r, 0), (&parts.s, width)] {
        let bytes = value.as_bytes();
        let start = part + width.checked_sub(bytes.len())?;
        out[start..start + bytes.len()].copy_from_slice(bytes);
    }
    Some(out)
}

fn der_signature(fixed: &[u8], width: usize) -> Option<Vec<u8>> {
    if fixed.len() != 2 * width {
        return None;
    }
    let (r, s) = fixed.split_at(width);
    EcdsaParts { r: Uint::new(r).ok()?, s: Uint::new(s).ok()? }.to_der().ok()
}
