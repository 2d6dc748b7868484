//! Time-to-live texts in request metadata (components.md §1.4).

use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use dapr_gocompat::duration;

/// Request metadata as the API hands it to a component.
pub type RequestMetadata = HashMap<String, String>;

/// TTL of a message or binding request: `ttl` or `ttlInSeconds`, any case.
pub fn message_ttl(metadata: &RequestMetadata) -> Result<Option<Duration>, String> {
    let found = ["ttl", "ttlinseconds"]
        .iter()
        .find_map(|name| metadata.iter().find(|(k, v)| k.eq_ignore_ascii_case(name) && !v.is_empty()));
    let Some((_, text)) = found else { return Ok(None) };
    if let Ok(seconds) = text.parse::<i64>() {
        return u64::try_from(seconds)
            .ok()
            .filter(|s| *s > 0)
            .map(|s| Some(Duration::from_secs(s)))
            .ok_or_else(|| format!("ttl value must be higher than zero: actual is '{seconds}'"));
    }
    match duration::parse_signed(text) {
        Ok(nanos) => Ok(Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))),
        Err(_) => Err(format!("ttl value must be a valid integer: actual is '{text}'")),
    }
}

/// What `ttlInSeconds` (exact case) asks of a state write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateTtl {
    /// Not given: the store's default applies.
    Absent,
    /// `-1` or `0`: never expires.
    Never,
    After(Duration),
}

/// Standard reading of a state item's TTL; some stores deviate.
pub fn state_ttl(metadata: &RequestMetadata) -> Result<StateTtl, String> {
    const PREFIX: &str = "incorrect value for metadata 'ttlInSeconds': ";
    let Some(text) = metadata.get("ttlInSeconds").filter(|v| !v.is_empty()) else {
        return Ok(StateTtl::Absent);
    };
    let seconds: i64 = text.parse().map_err(|e: ParseIntError| {
        let reason = match e.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("{PREFIX}strconv.ParseInt: parsing {text:?}: {reason}")
    })?;
    match i32::try_from(seconds) {
        Ok(s) if s < -1 => Err(format!("{PREFIX}must be -1 or greater")),
        Ok(s) if s <= 0 => Ok(StateTtl::Never),
        Ok(s) => Ok(StateTtl::After(Duration::from_secs(s.unsigned_abs().into()))),
        Err(_) => Err(format!("{PREFIX}must be -1 or greater")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn md(k: &str, v: &str) -> RequestMetadata {
        RequestMetadata::from([(k.to_owned(), v.to_owned())])
    }

    #[test]
    fn message_ttl_forms() {
        assert_eq!(message_ttl(&md("TTLInSeconds", "3")), Ok(Some(Duration::from_secs(3))));
        assert_eq!(message_ttl(&md("ttl", "150ms")), Ok(Some(Duration::from_millis(150))));
        assert_eq!(message_ttl(&md("ttl", "-1s")), Ok(Some(Duration::ZERO)));
        assert_eq!(
            message_ttl(&md("ttl", "0")).unwrap_err(),
            "ttl value must be higher than zero: actual is '0'"
        );
        assert_eq!(
            message_ttl(&md("ttl", "x")).unwrap_err(),
            "ttl value must be a valid integer: actual is 'x'"
        );
        assert_eq!(message_ttl(&RequestMetadata::new()), Ok(None));
    }

    #[test]
    fn state_ttl_forms() {
        assert_eq!(state_ttl(&md("ttlInSeconds", "-1")), Ok(StateTtl::Never));
        assert_eq!(state_ttl(&md("ttlInSeconds", "5")), Ok(StateTtl::After(Duration::from_secs(5))));
        assert_eq!(state_ttl(&md("ttlinseconds", "5")), Ok(StateTtl::Absent));
        for (text, reason) in [("foo", "invalid syntax"), ("99999999999999999999", "value out of range")] {
            let error = state_ttl(&md("ttlInSeconds", text)).unwrap_err();
            assert!(error.ends_with(&format!("strconv.ParseInt: parsing \"{text}\": {reason}")), "{error}");
        }
        assert!(state_ttl(&md("ttlInSeconds", "-2")).unwrap_err().ends_with("must be -1 or greater"));
    }
}
