//! Signed tokens: making them, and checking those of others (RFC 7515, RFC 7519).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::algorithm::JwsAlgorithm;
use super::jwk::{Jwk, JwkSet};
use super::key::{KeyError, SigningKey};

/// Signs tokens with one key.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SigningKey,
    algorithm: JwsAlgorithm,
    /// The encoded header, the same for every token.
    header: String,
}

impl Signer {
    /// The error says why `key` cannot be used with `algorithm`.
    pub fn new(key: SigningKey, algorithm: JwsAlgorithm, key_id: &str) -> Result<Self, String> {
        algorithm.check(key.kind())?;
        let header = json!({"alg": algorithm.as_str(), "kid": key_id, "typ": "JWT"});
        Ok(Self { key, algorithm, header: encode(&header) })
    }

    pub fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let mut token = format!("{}.{}", self.header, encode(claims));
        let signature = self.key.sign_token(self.algorithm, token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Why a token is refused. None of the texts repeats what the token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("invalid JWT")]
    Malformed,
    #[error("failed to find matching key: no key ID (\"kid\") specified in token")]
    NoKeyId,
    #[error("could not verify message using any of the signatures or keys")]
    Signature,
    #[error("\"iat\" not satisfied")]
    IssuedAt,
    #[error("\"exp\" not satisfied")]
    Expired,
    #[error("\"nbf\" not satisfied")]
    NotBefore,
    #[error("\"aud\" not satisfied")]
    Audience,
    #[error("\"sub\" not satisfied")]
    Subject,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub audience: &'a str,
    pub subject: &'a str,
    pub now: SystemTime,
    /// By how much clocks may differ.
    pub skew: Duration,
}

/// Checks signature, times, audience and subject.
pub fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<(), TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let header = object(header)?;
    // Extensions that must be understood, and none is.
    if header.contains_key("crit") {
        return Err(TokenError::Malformed);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let key_id = text("kid").filter(|id| !id.is_empty()).ok_or(TokenError::NoKeyId)?;
    let algorithm: JwsAlgorithm =
        text("alg").and_then(|alg| alg.parse().ok()).ok_or(TokenError::Signature)?;
    let is_by = |jwk: &Jwk| {
        jwk.may_sign()
            && jwk.key_id.as_deref() == Some(key_id)
            && jwk.algorithm.as_deref().is_none_or(|fixed| fixed == algorithm.as_str())
            && jwk
                .key
                .as_ref()
                .is_some_and(|key| key.verifies_token(algorithm, message.as_bytes(), &signature))
    };
    if !keys.keys().iter().any(is_by) {
        return Err(TokenError::Signature);
    }
    check_claims(&object(payload)?, expected)
}

/// The claims of a token whose signature somebody else has checked. A bare
/// JSON object is taken for its own claims.
pub fn unverified_claims(token: &str) -> Result<Map<String, Value>, TokenError> {
    if token.trim_start().starts_with('{') {
        return serde_json::from_str(token).map_err(|_| TokenError::Malformed);
    }
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(payload), Some(_), None) => object(payload),
        _ => Err(TokenError::Malformed),
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn check_claims(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), TokenError> {
    let now = expected.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
    let skew = expected.skew.as_secs() as f64;
    // A time that is no number must not count as none.
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            .map(|seconds| Some(seconds.floor()))
            .ok_or(TokenError::Malformed),
    };
    if time("iat")?.is_some_and(|at| at > now + skew) {
        return Err(TokenError::IssuedAt);
    }
    if time("exp")?.is_some_and(|at| at <= now - skew) {
        return Err(TokenError::Expired);
    }
    if time("nbf")?.is_some_and(|at| at > now + skew) {
        return Err(TokenError::NotBefore);
    }
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => one == expected.audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(expected.audience)),
        _ => false,
    };
    if !audience {
        return Err(TokenError::Audience);
    }
    if claims.get("sub").and_then(Value::as_str) != Some(expected.subject) {
        return Err(TokenError::Subject);
    }
    Ok(())
}
