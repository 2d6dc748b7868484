//! The two ways in which Dapr reads a boolean from text.

use crate::ParseError;
use crate::quote::quote;

/// Strict: `1 t T TRUE true True` and `0 f F FALSE false False`
/// (Go `strconv.ParseBool`).
pub fn parse_bool(text: &str) -> Result<bool, ParseError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError::new(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text)))),
    }
}

/// Lenient: `y yes true t on 1`, trimmed, in any case; all else is false
/// (components.md §1.4).
pub fn is_truthy(text: &str) -> bool {
    const WORDS: [&str; 6] = ["y", "yes", "true", "t", "on", "1"];
    let text = text.trim();
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_booleans() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "tRUE", " true", "2"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_bool("x").unwrap_err().to_string(),
            "strconv.ParseBool: parsing \"x\": invalid syntax"
        );
    }

    #[test]
    fn truthy_words() {
        for text in ["y", "Y", "yes", "YES", "true", "t", "ON", " on\n", "1"] {
            assert!(is_truthy(text), "{text}");
        }
        for text in ["", "0", "no", "off", "false", "2", "enabled"] {
            assert!(!is_truthy(text), "{text}");
        }
    }
}
