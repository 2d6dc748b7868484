//! JWT-SVIDs as their holder sees them: the claims are read, the signature is
//! for those the token is shown to (control-plane.md §4.2).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::rotation::Time;

/// How far the clocks of issuer and holder may differ, in milliseconds.
const SKEW: u64 = 5 * 60 * 1000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("error parsing JWT: {0}")]
    Malformed(&'static str),
    #[error("error parsing JWT: \"exp\" not satisfied: it has expired")]
    Expired,
    #[error("error parsing JWT: \"{0}\" not satisfied: it is not valid yet")]
    Early(&'static str),
    #[error("JWT audience is empty")]
    NoAudience,
    #[error("JWT audience mismatch")]
    Mismatch,
    #[error("JWT audience is required")]
    AudienceRequired,
    #[error("no JWT SVID available")]
    NoToken,
    #[error("JWT SVID has different audiences than requested: expected {expected}, got {got}")]
    Different { expected: String, got: String },
}

impl Error {
    pub(crate) fn different(expected: &str, got: &[String]) -> Self {
        Self::Different { expected: expected.to_owned(), got: got.join(", ") }
    }
}

/// A token and its claims. The debug form leaves the token out.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    audiences: Vec<String>,
    expiry: Time,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("audiences", &self.audiences)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Reads the claims of a compact token that is valid at `now`.
    pub fn read(text: String, now: Time) -> Result<Self, Error> {
        let mut parts = text.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Malformed("it has not three parts"));
        };
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Error::Malformed("it is not base64"))?;
        let claims: Value =
            serde_json::from_slice(&claims).map_err(|_| Error::Malformed("its claims are not JSON"))?;
        let expiry = instant(&claims["exp"]).ok_or(Error::Malformed("it has no \"exp\" claim"))?;
        if expiry.plus(SKEW) <= now {
            return Err(Error::Expired);
        }
        for name in ["nbf", "iat"] {
            if instant(&claims[name]).is_some_and(|t| t > now.plus(SKEW)) {
                return Err(Error::Early(name));
            }
        }
        let audiences = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Self { text, audiences, expiry })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub fn expiry(&self) -> Time {
        self.expiry
    }

    pub fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|a| a == audience)
    }
}

/// Seconds since 1970, whole or not.
fn instant(value: &Value) -> Option<Time> {
    let seconds = value.as_f64()?;
    // A float that is out of range saturates.
    Some(Time((seconds * 1000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1_000_000);

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn claims_are_read() {
        let t = Token::read(token(r#"{"aud":["public","x"],"exp":1000600,"nbf":1}"#), NOW).unwrap();
        assert_eq!(
            (t.audiences(), t.expiry()),
            (&["public".to_owned(), "x".to_owned()][..], NOW.plus(600_000))
        );
        assert!(t.is_for("x") && !t.is_for("y"));
        let one = Token::read(token(r#"{"aud":"a","exp":1000000.5}"#), NOW).unwrap();
        assert_eq!((one.audiences(), one.expiry()), (&["a".to_owned()][..], NOW.plus(500)));
    }

    #[test]
    fn five_minutes_are_allowed_either_way() {
        assert!(Token::read(token(r#"{"exp":999701}"#), NOW).is_ok());
        assert_eq!(Token::read(token(r#"{"exp":999700}"#), NOW), Err(Error::Expired));
        assert!(Token::read(token(r#"{"exp":1000600,"nbf":1000300}"#), NOW).is_ok());
        assert_eq!(Token::read(token(r#"{"exp":1000600,"nbf":1000301}"#), NOW), Err(Error::Early("nbf")));
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for text in ["", "a.b", "a.!.c", "e30.e30.e30.e30", &token("[]"), &token("{}")] {
            let error = Token::read(text.to_owned(), NOW).unwrap_err().to_string();
            assert!(error.starts_with("error parsing JWT: "), "{error}");
        }
        let t = Token::read(token(r#"{"exp":1000600}"#), NOW).unwrap();
        assert!(!format!("{t:?}").contains("c2ln"));
    }
}
