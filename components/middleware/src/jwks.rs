//! Keys of a JSON Web Key Set, and the signatures they verify (RFC 7515, 7517).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the token is not a signed JWT")]
    Malformed,
    #[error("the token names no key that is in the key set")]
    UnknownKey,
    #[error("the key does not sign with algorithm {0}")]
    Algorithm(String),
    #[error("the signature is not valid")]
    Signature,
}

/// A key set as it was published.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: String,
    /// Signs only with this one, if there is one.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
    k: String,
}

impl KeySet {
    /// Keys of unknown kinds and for other uses are left out.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let document: Value = serde_json::from_slice(json)?;
        // A single key is a set of one.
        let keys = match Document::deserialize(&document) {
            Ok(document) => document.keys,
            Err(_) if document.get("kty").is_some() => vec![document],
            Err(error) => return Err(error),
        };
        let keys = keys.into_iter().filter_map(|k| Key::read(serde_json::from_value(k).ok()?));
        Ok(Self { keys: keys.collect() })
    }

    /// The claims of a compact token that a key of this set has signed. The
    /// token has to name the key.
    pub fn verify(&self, token: &str) -> Result<Value, Refusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (head, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let part = |text: &str| -> Option<Value> { serde_json::from_slice(&decode(text)?).ok() };
        let head = part(head).ok_or(Refusal::Malformed)?;
        let text = |name: &str| head.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = text("kid");
        if id.is_empty() {
            return Err(Refusal::UnknownKey);
        }
        let key = self.keys.iter().find(|key| key.id == id).ok_or(Refusal::UnknownKey)?;
        let signature = decode(signature).ok_or(Refusal::Malformed)?;
        key.verify(text("alg"), signed.as_bytes(), &signature)?;
        part(claims).ok_or(Refusal::Malformed)
    }
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        if jwk.usage.is_some_and(|usage| !usage.is_empty() && usage != "sig") {
            return None;
        }
        let material = match (&*jwk.kty, &*jwk.crv) {
            ("RSA", _) => Material::Rsa { n: decode(&jwk.n)?, e: decode(&jwk.e)? },
            ("EC", "P-256") => Material::P256(point(&jwk.x, &jwk.y, 32)?),
            ("EC", "P-384") => Material::P384(point(&jwk.x, &jwk.y, 48)?),
            ("OKP", "Ed25519") => Material::Ed25519(decode(&jwk.x)?),
            ("oct", _) => Material::Secret(decode(&jwk.k)?),
            _ => return None,
        };
        Some(Self { id: jwk.kid, algorithm: jwk.alg.filter(|a| !a.is_empty()), material })
    }

    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let unfit = || Refusal::Algorithm(algorithm.to_owned());
        if self.algorithm.as_deref().is_some_and(|only| only != algorithm) {
            return Err(unfit());
        }
        let valid = match &self.material {
            Material::Rsa { n, e } => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return Err(unfit()),
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            Material::P256(point) if algorithm == "ES256" => {
                public(&signature::ECDSA_P256_SHA256_FIXED, point, message, signature)
            }
            Material::P384(point) if algorithm == "ES384" => {
                public(&signature::ECDSA_P384_SHA384_FIXED, point, message, signature)
            }
            Material::Ed25519(key) if algorithm == "EdDSA" => {
                public(&signature::ED25519, key, message, signature)
            }
            Material::Secret(secret) => {
                let kind = match algorithm {
                    "HS256" => ring::hmac::HMAC_SHA256,
                    "HS384" => ring::hmac::HMAC_SHA384,
                    "HS512" => ring::hmac::HMAC_SHA512,
                    _ => return Err(unfit()),
                };
                ring::hmac::verify(&ring::hmac::Key::new(kind, secret), message, signature).is_ok()
            }
            _ => return Err(unfit()),
        };
        if valid { Ok(()) } else { Err(Refusal::Signature) }
    }
}

fn public(
    kind: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(kind, key).verify(message, signature).is_ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// Both coordinates in full length.
fn point(x: &str, y: &str, length: usize) -> Option<Vec<u8>> {
    let mut out = vec![4];
    for coordinate in [decode(x)?, decode(y)?] {
        let missing = length.checked_sub(coordinate.len())?;
        out.resize(out.len() + missing, 0);
        out.extend(coordinate);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Signer;

    #[test]
    fn a_token_is_as_good_as_its_key() {
        let (signer, other) = (Signer::new("one"), Signer::new("one"));
        let keys = KeySet::parse(&signer.key_set()).unwrap();
        let claims = json!({"sub": "x"});
        assert_eq!(keys.verify(&signer.token(&claims)), Ok(claims.clone()));
        assert_eq!(keys.verify(&other.token(&claims)), Err(Refusal::Signature));
        assert_eq!(keys.verify(&Signer::new("two").token(&claims)), Err(Refusal::UnknownKey));
        assert_eq!(keys.verify("a.b.c"), Err(Refusal::Malformed));
        assert_eq!(keys.verify("text"), Err(Refusal::Malformed));
    }

    #[test]
    fn secrets_and_their_algorithms() {
        let set = json!({"keys": [{"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"}]});
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let token = |alg: &str, kind| {
            let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "s"}).to_string());
            let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode("{}"));
            let tag = ring::hmac::sign(&ring::hmac::Key::new(kind, b"secret"), signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        assert_eq!(keys.verify(&token("HS256", ring::hmac::HMAC_SHA256)), Ok(json!({})));
        let unfit = Err(Refusal::Algorithm("HS512".to_owned()));
        assert_eq!(keys.verify(&token("HS512", ring::hmac::HMAC_SHA512)), unfit);
        assert_eq!(
            keys.verify(&token("none", ring::hmac::HMAC_SHA512)),
            Err(Refusal::Algorithm("none".to_owned()))
        );
    }

    #[test]
    fn keys_for_other_uses_are_left_out() {
        let set = json!({"keys": [
            {"kty": "oct", "kid": "enc", "k": "c2VjcmV0", "use": "enc"},
            {"kty": "EC", "crv": "P-521", "kid": "big", "x": "AA", "y": "AA"},
            {"kty": "future"},
        ]});
        assert!(KeySet::parse(set.to_string().as_bytes()).unwrap().keys.is_empty());
        assert!(KeySet::parse(b"{}").is_err());
        assert!(KeySet::parse(b"text").is_err());
    }
}
