//! Which key signs with which algorithm, in certificates and in tokens.

use std::fmt;
use std::str::FromStr;

use rustls::SignatureScheme;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::oid::db;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// The kinds of keys that certificates and tokens are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl KeyKind {
    /// From the algorithm of a `SubjectPublicKeyInfo`.
    pub(super) fn of(algorithm: &AlgorithmIdentifierOwned) -> Option<Self> {
        if algorithm.oid == db::rfc5912::RSA_ENCRYPTION {
            return Some(Self::Rsa);
        }
        if algorithm.oid == db::rfc8410::ID_ED_25519 {
            return Some(Self::Ed25519);
        }
        if algorithm.oid != db::rfc5912::ID_EC_PUBLIC_KEY {
            return None;
        }
        let curve: ObjectIdentifier = algorithm.parameters.as_ref()?.decode_as().ok()?;
        [Self::P256, Self::P384, Self::P521].into_iter().find(|kind| kind.curve_oid() == Some(curve))
    }

    fn curve_oid(self) -> Option<ObjectIdentifier> {
        match self {
            Self::P256 => Some(db::rfc5912::SECP_256_R_1),
            Self::P384 => Some(db::rfc5912::SECP_384_R_1),
            Self::P521 => Some(db::rfc5912::SECP_521_R_1),
            Self::Rsa | Self::Ed25519 => None,
        }
    }

    /// The algorithm of a `SubjectPublicKeyInfo`.
    pub(super) fn spki_algorithm(self) -> AlgorithmIdentifierOwned {
        match self {
            Self::Rsa => {
                AlgorithmIdentifierOwned { oid: db::rfc5912::RSA_ENCRYPTION, parameters: Some(Any::null()) }
            }
            Self::Ed25519 => AlgorithmIdentifierOwned { oid: db::rfc8410::ID_ED_25519, parameters: None },
            Self::P256 | Self::P384 | Self::P521 => AlgorithmIdentifierOwned {
                oid: db::rfc5912::ID_EC_PUBLIC_KEY,
                parameters: self.curve_oid().map(Any::from),
            },
        }
    }

    /// What such a key signs certificates with.
    pub(super) fn certificate_algorithm(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::Rsa => (db::rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Any::null())),
            Self::P256 => (db::rfc5912::ECDSA_WITH_SHA_256, None),
            Self::P384 => (db::rfc5912::ECDSA_WITH_SHA_384, None),
            Self::P521 => (db::rfc5912::ECDSA_WITH_SHA_512, None),
            Self::Ed25519 => (db::rfc8410::ID_ED_25519, None),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }

    /// The same for rustls, which has no P-521.
    pub(super) fn certificate_scheme(self) -> Option<SignatureScheme> {
        match self {
            Self::Rsa => Some(SignatureScheme::RSA_PKCS1_SHA256),
            Self::P256 => Some(SignatureScheme::ECDSA_NISTP256_SHA256),
            Self::P384 => Some(SignatureScheme::ECDSA_NISTP384_SHA384),
            Self::P521 => None,
            Self::Ed25519 => Some(SignatureScheme::ED25519),
        }
    }

    /// Bytes of a field element of the curve.
    pub(super) fn field_bytes(self) -> Option<usize> {
        match self {
            Self::P256 => Some(32),
            Self::P384 => Some(48),
            Self::P521 => Some(66),
            Self::Rsa | Self::Ed25519 => None,
        }
    }

    fn curve_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Rsa | Self::Ed25519 => "",
        }
    }

    /// The name by which error messages call such a private key.
    fn type_name(self) -> &'static str {
        match self {
            Self::Rsa => "*rsa.PrivateKey",
            Self::P256 | Self::P384 | Self::P521 => "*ecdsa.PrivateKey",
            Self::Ed25519 => "ed25519.PrivateKey",
        }
    }
}

/// What tokens are signed with (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl JwsAlgorithm {
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether a key of this kind can be used; the error says why not.
    pub fn check(self, kind: KeyKind) -> Result<(), String> {
        let wanted = match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                return match kind {
                    KeyKind::Rsa => Ok(()),
                    _ => {
                        Err(format!("RSA algorithm {self} requires an RSA key, but got {}", kind.type_name()))
                    }
                };
            }
            Self::EdDsa => {
                return match kind {
                    KeyKind::Ed25519 => Ok(()),
                    _ => {
                        Err(format!("EdDSA algorithm requires an Ed25519 key, but got {}", kind.type_name()))
                    }
                };
            }
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::Es512 => KeyKind::P521,
        };
        if kind == wanted {
            return Ok(());
        }
        match kind.field_bytes() {
            None => {
                Err(format!("ECDSA algorithm {self} requires an ECDSA key, but got {}", kind.type_name()))
            }
            Some(_) => {
                Err(format!("{self} requires a {} curve, got {}", wanted.curve_name(), kind.curve_name()))
            }
        }
    }

    /// The scheme of rustls; none for P-521.
    pub(super) fn scheme(self) -> Option<SignatureScheme> {
        match self {
            Self::Rs256 => Some(SignatureScheme::RSA_PKCS1_SHA256),
            Self::Rs384 => Some(SignatureScheme::RSA_PKCS1_SHA384),
            Self::Rs512 => Some(SignatureScheme::RSA_PKCS1_SHA512),
            Self::Ps256 => Some(SignatureScheme::RSA_PSS_SHA256),
            Self::Ps384 => Some(SignatureScheme::RSA_PSS_SHA384),
            Self::Ps512 => Some(SignatureScheme::RSA_PSS_SHA512),
            Self::Es256 => Some(SignatureScheme::ECDSA_NISTP256_SHA256),
            Self::Es384 => Some(SignatureScheme::ECDSA_NISTP384_SHA384),
            Self::Es512 => None,
            Self::EdDsa => Some(SignatureScheme::ED25519),
        }
    }
}

impl fmt::Display for JwsAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JwsAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
        known.ok_or_else(|| format!("unsupported signature algorithm: {text}"))
    }
}
