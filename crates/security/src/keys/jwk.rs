//! JSON Web Keys and sets of them (RFC 7517, RFC 7518 §6).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Key, Material, ParseError};

/// RSA moduli that are accepted, in bits: the longest would otherwise take
/// seconds for one operation.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=16 * 1024;

pub(super) fn parse(raw: &[u8]) -> Result<Key, ParseError> {
    let value: Value = serde_json::from_slice(raw).map_err(|e| ParseError::Jwk(e.to_string()))?;
    from_value(&value)
}

fn from_value(jwk: &Value) -> Result<Key, ParseError> {
    let invalid = |reason: &str| ParseError::Jwk(reason.to_owned());
    let material = match text(jwk, "kty") {
        "oct" => Material::Symmetric(bytes(jwk, "k")?.ok_or_else(|| invalid("'k' is missing"))?),
        "RSA" => rsa(jwk)?,
        "EC" | "OKP" if !text(jwk, "crv").is_empty() => Material::Curve,
        "EC" | "OKP" => return Err(invalid("'crv' is missing")),
        "" => return Err(invalid("'kty' is missing")),
        other => return Err(ParseError::Jwk(format!("key type '{other}' is not known"))),
    };
    let operations = jwk["key_ops"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Key {
        material,
        operations: operations.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        usage: text(jwk, "use").to_owned(),
        algorithm: text(jwk, "alg").to_owned(),
    })
}

fn rsa(jwk: &Value) -> Result<Material, ParseError> {
    let failed = |e: rsa::Error| ParseError::Jwk(format!("not an RSA key: {e}"));
    let required = |name: &str| {
        number(jwk, name)?.ok_or_else(|| ParseError::Jwk(format!("'{name}' of the RSA key is missing")))
    };
    let (n, e) = (required("n")?, required("e")?);
    let Some(d) = number(jwk, "d")? else {
        let key = RsaPublicKey::new_with_size_limits(n, e, RSA_BITS).map_err(failed)?;
        return Ok(Material::RsaPublic(key));
    };
    // Without the primes they are found again from the exponents.
    let primes = match (number(jwk, "p")?, number(jwk, "q")?) {
        (Some(p), Some(q)) => vec![p, q],
        _ => Vec::new(),
    };
    let key = RsaPrivateKey::from_components(n, e, d, primes).map_err(failed)?;
    Ok(Material::RsaPrivate(Box::new(key)))
}

fn text<'a>(jwk: &'a Value, name: &str) -> &'a str {
    jwk[name].as_str().unwrap_or_default()
}

fn bytes(jwk: &Value, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, ParseError> {
    let Some(encoded) = jwk[name].as_str() else { return Ok(None) };
    let decoded = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
    decoded
        .map(|bytes| Some(Zeroizing::new(bytes)))
        .map_err(|_| ParseError::Jwk(format!("'{name}' is not base64url")))
}

fn number(jwk: &Value, name: &str) -> Result<Option<BoxedUint>, ParseError> {
    Ok(bytes(jwk, name)?.filter(|b| !b.is_empty()).map(|b| BoxedUint::from_be_slice_vartime(&b)))
}

/// Keys by their id.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<(String, Key)>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a set of JSON Web Keys: {0}")]
pub struct ParseSetError(String);

impl KeySet {
    /// Reads `{"keys": [...]}`, or a single key as a set of one. Keys of a
    /// kind that is not known fail the set.
    pub fn parse(raw: &[u8]) -> Result<Self, ParseSetError> {
        let value: Value = serde_json::from_slice(raw).map_err(|e| ParseSetError(e.to_string()))?;
        let single = [value.clone()];
        let keys = match value.get("keys") {
            Some(Value::Array(keys)) => keys.as_slice(),
            Some(_) => return Err(ParseSetError("'keys' is not an array".to_owned())),
            None => &single,
        };
        let named = |jwk: &Value| {
            let key = from_value(jwk).map_err(|e| ParseSetError(e.to_string()))?;
            Ok((text(jwk, "kid").to_owned(), key))
        };
        keys.iter().map(named).collect::<Result<_, _>>().map(Self)
    }

    pub fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }
}
