//! JSON Web Keys and sets of them (RFC 7517, RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::algorithm::{JwsAlgorithm, KeyKind};
use super::public_key::PublicKey;

/// What `use` is for keys that sign.
const SIGNATURE: &str = "sig";

#[derive(Debug, thiserror::Error)]
pub enum JwkError {
    #[error("failed to parse JWKS: {0}")]
    Json(serde_json::Error),
    #[error("failed to parse JWKS: it is neither a key nor a set of keys")]
    Form,
    #[error("failed to parse JWKS: key {number}: {problem}")]
    Key { number: usize, problem: &'static str },
    #[error("JWKS doesn't contain any keys")]
    Empty,
    #[error("JWKS doesn't contain a key with user-provided key ID {}", quoted(.0))]
    NoSuchId(String),
    #[error("JWKS contains a key with user-provided key ID {} but the key content doesn't match the signing key", quoted(.0))]
    OtherContent(String),
    #[error("JWKS doesn't contain a matching public key for the JWT signing key")]
    NoMatch,
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// One key of a set.
#[derive(Clone, Debug)]
pub struct Jwk {
    pub key_id: Option<String>,
    pub usage: Option<String>,
    pub algorithm: Option<String>,
    /// `None` for symmetric and unknown kinds: they never match anything.
    pub key: Option<PublicKey>,
}

/// A set of public keys.
#[derive(Clone, Debug, Default)]
pub struct JwkSet(Vec<Jwk>);

impl JwkSet {
    /// Reads a set, or a single key in place of one.
    pub fn parse(json: &[u8]) -> Result<Self, JwkError> {
        let value: Value = serde_json::from_slice(json).map_err(JwkError::Json)?;
        let object = value.as_object().ok_or(JwkError::Form)?;
        let keys = match object.get("keys") {
            Some(keys) => keys.as_array().ok_or(JwkError::Form)?.iter().collect(),
            None if object.contains_key("kty") => vec![&value],
            None => return Err(JwkError::Form),
        };
        let parse = |(index, key): (usize, &Value)| {
            let problem = |problem| JwkError::Key { number: index + 1, problem };
            parse_key(key.as_object().ok_or(JwkError::Form)?).map_err(problem)
        };
        keys.into_iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn keys(&self) -> &[Jwk] {
        &self.0
    }

    /// Whether `key` is one of the set that may sign, under the given ID if
    /// there is one.
    pub fn check_contains(&self, key: &PublicKey, key_id: Option<&str>) -> Result<(), JwkError> {
        if self.0.is_empty() {
            return Err(JwkError::Empty);
        }
        let same = |jwk: &&Jwk| jwk.may_sign() && jwk.key.as_ref() == Some(key);
        let Some(key_id) = key_id else {
            return self.0.iter().find(same).map(|_| ()).ok_or(JwkError::NoMatch);
        };
        let mut named = self.0.iter().filter(|jwk| jwk.key_id.as_deref() == Some(key_id)).peekable();
        if named.peek().is_none() {
            return Err(JwkError::NoSuchId(key_id.to_owned()));
        }
        named.find(same).map(|_| ()).ok_or_else(|| JwkError::OtherContent(key_id.to_owned()))
    }
}

impl Jwk {
    pub(super) fn may_sign(&self) -> bool {
        self.usage.as_deref().is_none_or(|usage| usage == SIGNATURE)
    }
}

fn parse_key(object: &Map<String, Value>) -> Result<Jwk, &'static str> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let bytes = |name: &str| {
        let value = object.get(name).and_then(Value::as_str).ok_or("a member of the key is missing")?;
        URL_SAFE_NO_PAD
            .decode(value.trim_end_matches('='))
            .map_err(|_| "a member of the key is not base64url")
    };
    let curve = |name: Option<&str>| match name {
        Some("P-256") => Some(KeyKind::P256),
        Some("P-384") => Some(KeyKind::P384),
        Some("P-521") => Some(KeyKind::P521),
        _ => None,
    };
    const INVALID: &str = "the key is not valid";
    let key = match text("kty").as_deref() {
        None => return Err("it has no kty"),
        Some("RSA") => Some(PublicKey::from_rsa(&bytes("n")?, &bytes("e")?).ok_or(INVALID)?),
        Some("EC") => match curve(text("crv").as_deref()) {
            Some(kind) => Some(PublicKey::from_point(kind, &bytes("x")?, &bytes("y")?).ok_or(INVALID)?),
            None => None,
        },
        Some("OKP") if text("crv").as_deref() == Some("Ed25519") => {
            Some(PublicKey::from_ed25519(&bytes("x")?).ok_or(INVALID)?)
        }
        Some(_) => None,
    };
    Ok(Jwk { key_id: text("kid"), usage: text("use"), algorithm: text("alg"), key })
}

/// The members that make up the key, in the order of their names.
fn members(key: &PublicKey) -> Vec<(&'static str, String)> {
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let curve = match key.kind() {
        KeyKind::Rsa => {
            let (n, e) = key.rsa_parts().unwrap_or_default();
            return vec![("e", base64(&e)), ("kty", "RSA".to_owned()), ("n", base64(&n))];
        }
        KeyKind::Ed25519 => {
            let (curve, kind) = ("Ed25519".to_owned(), "OKP".to_owned());
            return vec![("crv", curve), ("kty", kind), ("x", base64(key.bytes()))];
        }
        KeyKind::P256 => "P-256",
        KeyKind::P384 => "P-384",
        KeyKind::P521 => "P-521",
    };
    let (x, y) = key.point().unwrap_or_default();
    vec![("crv", curve.to_owned()), ("kty", "EC".to_owned()), ("x", base64(x)), ("y", base64(y))]
}

/// The ID that a key gets when nobody names it: its SHA-256 thumbprint in
/// base64 of the standard alphabet, with padding.
pub fn thumbprint(key: &PublicKey) -> String {
    let members: Vec<String> = members(key).iter().map(|(k, v)| format!("\"{k}\":\"{v}\"")).collect();
    STANDARD.encode(Sha256::digest(format!("{{{}}}", members.join(","))))
}

/// A set with this one key, for signatures, in JSON.
pub fn set_of(key: &PublicKey, algorithm: JwsAlgorithm) -> String {
    let mut jwk = Map::new();
    jwk.insert("alg".to_owned(), json!(algorithm.as_str()));
    jwk.insert("kid".to_owned(), json!(thumbprint(key)));
    jwk.insert("use".to_owned(), json!(SIGNATURE));
    for (name, value) in members(key) {
        jwk.insert(name.to_owned(), json!(value));
    }
    json!({ "keys": [jwk] }).to_string()
}
