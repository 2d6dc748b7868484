//! Request bodies in the JSON form of protobuf messages: names in camelCase or
//! as in the .proto file, unknown fields ignored, an empty body is an empty
//! message (api.md §1.2).

use serde_json::{Map, Value};

/// A body or field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid(String);

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "proto: {}", self.0)
    }
}

/// The fields of one message.
#[derive(Debug, Default)]
pub(super) struct Message(Map<String, Value>);

impl Message {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body).map_err(|e| Invalid(format!("syntax error: {e}")))? {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(Invalid(format!("unexpected token {other}: expected an object"))),
        }
    }

    /// `null` is an absent field.
    fn take(&mut self, name: &str, original: &str) -> Result<Option<Value>, Invalid> {
        let (first, second) = (self.0.remove(name), self.0.remove(original));
        if first.is_some() && second.is_some() {
            return Err(Invalid(format!("duplicate field {original:?}")));
        }
        Ok(first.or(second).filter(|value| !value.is_null()))
    }

    /// `original` is the name in the .proto file.
    pub(super) fn string(&mut self, name: &str, original: &str) -> Result<String, Invalid> {
        match self.take(name, original)? {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(invalid("string", name, &other)),
        }
    }

    /// A whole number, also as a string or with a fraction of zero.
    pub(super) fn int32(&mut self, name: &str, original: &str) -> Result<i32, Invalid> {
        let Some(value) = self.take(name, original)? else { return Ok(0) };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.trim() == text => text.parse::<f64>().ok(),
            _ => None,
        };
        let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
        match number.filter(|n| n.fract() == 0.0 && range.contains(n)) {
            #[expect(clippy::cast_possible_truncation, reason = "checked: whole and within the range")]
            Some(number) => Ok(number as i32),
            None => Err(invalid("int32", name, &value)),
        }
    }
}

fn invalid(kind: &'static str, name: &str, value: &Value) -> Invalid {
    Invalid(format!("invalid value for {kind} field {name}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(body: &str) -> Result<i32, String> {
        let mut message = Message::parse(body.as_bytes()).map_err(|e| e.to_string())?;
        message.int32("expiryInSeconds", "expiry_in_seconds").map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_may_be_strings_and_names_may_be_the_original_ones() {
        assert_eq!(expiry(""), Ok(0));
        assert_eq!(expiry("{}"), Ok(0));
        assert_eq!(expiry(r#"{"expiryInSeconds":null}"#), Ok(0));
        assert_eq!(expiry(r#"{"expiryInSeconds":5,"more":[1]}"#), Ok(5));
        assert_eq!(expiry(r#"{"expiry_in_seconds":"5"}"#), Ok(5));
        assert_eq!(expiry(r#"{"expiryInSeconds":5.0}"#), Ok(5));
        assert_eq!(expiry(r#"{"expiryInSeconds":-1e1}"#), Ok(-10));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for body in [
            "[]",
            "5",
            "{",
            "{} x",
            r#"{"expiryInSeconds":5.5}"#,
            r#"{"expiryInSeconds":"five"}"#,
            r#"{"expiryInSeconds":2147483648}"#,
            r#"{"expiryInSeconds":true}"#,
            r#"{"expiryInSeconds":1,"expiry_in_seconds":1}"#,
        ] {
            assert!(expiry(body).unwrap_err().starts_with("proto: "), "{body}");
        }
        let mut message = Message::parse(br#"{"lockOwner":5}"#).unwrap();
        let error = message.string("lockOwner", "lock_owner").unwrap_err();
        assert_eq!(error.to_string(), "proto: invalid value for string field lockOwner: 5");
    }
}
