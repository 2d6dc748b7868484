//! The shared secrets `DAPR_API_TOKEN` and `APP_API_TOKEN`.

use subtle::ConstantTimeEq;

/// Compares without telling, by the time it takes, how much of `given` is
/// right. Only the length of `expected` may be learned.
pub fn matches(expected: &str, given: &[u8]) -> bool {
    expected.as_bytes().ct_eq(given).into()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn only_the_same_token_matches() {
        assert!(matches("s3cret", b"s3cret"));
        for wrong in [&b"s3creT"[..], b"s3cre", b"s3cret ", b""] {
            assert!(!matches("s3cret", wrong));
        }
    }
}
