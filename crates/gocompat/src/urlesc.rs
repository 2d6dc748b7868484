//! Percent escapes of URLs, with the reserved sets and error texts of Go's `net/url`.

use crate::ParseError;
use crate::quote::quote;

/// Undoes [`query_escape`]: `+` is a space. Bytes that are not UTF-8 become U+FFFD.
///
/// Fails with `invalid URL escape "%zz"`.
pub fn query_unescape(text: &str) -> Result<String, ParseError> {
    unescape(text, true)
}

/// Undoes [`path_escape`]: `+` stays. Bytes that are not UTF-8 become U+FFFD.
pub fn path_unescape(text: &str) -> Result<String, ParseError> {
    unescape(text, false)
}

/// Text as a query key or value; a space becomes `+`.
pub fn query_escape(text: &str) -> String {
    escape(text, Target::Query)
}

/// Text as one path segment; a space becomes `%20`, a slash `%2F`.
pub fn path_escape(text: &str) -> String {
    escape(text, Target::PathSegment)
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Query,
    PathSegment,
}

fn unescape(text: &str, plus_is_space: bool) -> Result<String, ParseError> {
    if !text.bytes().any(|b| b == b'%' || (plus_is_space && b == b'+')) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let Some(byte) = hex_byte(&bytes[at + 1..]) else { return Err(bad_escape(&bytes[at..])) };
                out.push(byte);
                at += 3;
                continue;
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn hex_byte(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

fn bad_escape(rest: &[u8]) -> ParseError {
    let shown = String::from_utf8_lossy(&rest[..rest.len().min(3)]);
    ParseError::new(format!("invalid URL escape {}", quote(&shown)))
}

fn escape(text: &str, target: Target) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte, target) {
            out.push(byte as char);
        } else if byte == b' ' && target == Target::Query {
            out.push('+');
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)] as char, HEX[usize::from(byte & 15)] as char]);
        }
    }
    out
}

fn is_plain(byte: u8, target: Target) -> bool {
    byte.is_ascii_alphanumeric()
        || b"-_.~".contains(&byte)
        || (target == Target::PathSegment && b"$&+=:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_escapes_carry_the_text_of_go() {
        let table = [
            ("%zz", "invalid URL escape \"%zz\""),
            ("a%2", "invalid URL escape \"%2\""),
            ("a%", "invalid URL escape \"%\""),
            ("a%1gbc", "invalid URL escape \"%1g\""),
            ("%\u{e9}1", "invalid URL escape \"%\u{e9}\""),
        ];
        for (text, message) in table {
            assert_eq!(query_unescape(text).unwrap_err().to_string(), message);
            assert_eq!(path_unescape(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn plus_is_a_space_in_queries_only() {
        assert_eq!(query_unescape("a+b%20c%2B").unwrap(), "a b c+");
        assert_eq!(path_unescape("a+b%20c%2F").unwrap(), "a+b c/");
        assert_eq!(path_unescape("%ff").unwrap(), "\u{fffd}");
    }

    #[test]
    fn reserved_sets() {
        let punctuation = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
        assert_eq!(
            query_escape(punctuation),
            "+%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E_%60%7B%7C%7D~"
        );
        assert_eq!(
            path_escape(punctuation),
            "%20%21%22%23$%25&%27%28%29%2A+%2C-.%2F:%3B%3C=%3E%3F@%5B%5C%5D%5E_%60%7B%7C%7D~"
        );
        assert_eq!(path_escape("\u{e9}\n"), "%C3%A9%0A");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in any::<String>()) {
            prop_assert_eq!(query_unescape(&query_escape(&text)).unwrap(), &*text);
            prop_assert_eq!(path_unescape(&path_escape(&text)).unwrap(), text);
        }
    }
}
