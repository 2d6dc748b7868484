//! Flag values: reading them from text and printing their defaults.

use dapr_gocompat::bools::parse_bool;
use dapr_gocompat::duration::{format_signed, parse_signed};
use dapr_gocompat::quote::quote;

use crate::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    String(String),
    Int(i64),
    Uint(u64),
    /// Nanoseconds.
    Duration(i64),
    List(Vec<String>),
    Array(Vec<String>),
    Count(u64),
}

impl Value {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::String(_) => Kind::String,
            Self::Int(_) => Kind::Int,
            Self::Uint(_) => Kind::Uint,
            Self::Duration(_) => Kind::Duration,
            Self::List(_) => Kind::List,
            Self::Array(_) => Kind::Array,
            Self::Count(_) => Kind::Count,
        }
    }

    /// Takes one occurrence. `first` says that the flag was not given before,
    /// so that a list drops its default.
    pub(crate) fn set(&mut self, text: &str, first: bool) -> Result<(), String> {
        match self {
            Self::Bool(value) => *value = parse_bool(text).map_err(|error| error.to_string())?,
            Self::String(value) => text.clone_into(value),
            Self::Int(value) => *value = parse_int(text)?,
            Self::Uint(value) => *value = parse_uint(text)?,
            Self::Duration(value) => *value = parse_signed(text).map_err(|error| error.to_string())?,
            Self::List(items) => {
                let more = split_record(text)?;
                if first {
                    items.clear();
                }
                items.extend(more);
            }
            Self::Array(items) => {
                if first {
                    items.clear();
                }
                items.push(text.to_owned());
            }
            Self::Count(count) => match text {
                "+1" => *count += 1,
                _ => *count = parse_uint(text)?,
            },
        }
        Ok(())
    }

    /// The default as usage shows it, or nothing when it is the kind's zero.
    pub(crate) fn shown_default(&self) -> Option<String> {
        match self {
            Self::Bool(value) => value.then(|| "true".to_owned()),
            Self::String(value) => (!value.is_empty()).then(|| quote(value)),
            Self::Int(value) => (*value != 0).then(|| value.to_string()),
            Self::Uint(value) | Self::Count(value) => (*value != 0).then(|| value.to_string()),
            Self::Duration(value) => (*value != 0).then(|| format_signed(*value)),
            Self::List(items) | Self::Array(items) => {
                (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
            }
        }
    }
}

fn parse_int(text: &str) -> Result<i64, String> {
    let fail = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quote(text));
    let (negative, magnitude) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = parse_magnitude(magnitude).map_err(|why| fail(why.text()))?;
    let signed = if negative { -i128::from(value) } else { i128::from(value) };
    i64::try_from(signed).map_err(|_| fail(Refusal::Range.text()))
}

fn parse_uint(text: &str) -> Result<u64, String> {
    parse_magnitude(text).map_err(|why| format!("strconv.ParseUint: parsing {}: {}", quote(text), why.text()))
}

enum Refusal {
    Syntax,
    Range,
}

impl Refusal {
    fn text(&self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        }
    }
}

/// Digits with an optional base prefix and, behind a prefix or in base ten with
/// one, single underscores between digits.
fn parse_magnitude(text: &str) -> Result<u64, Refusal> {
    let lower = text.to_ascii_lowercase();
    let (base, digits, prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..], true),
        [b'0', b'b', ..] => (2, &lower[2..], true),
        [b'0', b'o', ..] => (8, &lower[2..], true),
        [b'0', _, ..] => (8, &lower[1..], true),
        _ => (10, lower.as_str(), false),
    };
    let misplaced = digits.ends_with('_') || digits.contains("__") || (!prefixed && digits.starts_with('_'));
    if digits.is_empty() || misplaced {
        return Err(Refusal::Syntax);
    }
    let mut value: u64 = 0;
    let mut overflow = false;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = c.to_digit(base).ok_or(Refusal::Syntax)?;
        match value.checked_mul(u64::from(base)).and_then(|v| v.checked_add(u64::from(digit))) {
            Some(next) => value = next,
            None => overflow = true,
        }
    }
    if overflow { Err(Refusal::Range) } else { Ok(value) }
}

/// One CSV record: `a,"b,c"` is `a` and `b,c`; the empty text has no item.
fn split_record(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // A record ends at a line break; what follows is not read.
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let column = text.len() - rest.len() + 1;
        let (item, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_item(quoted, text)?,
            None => plain_item(rest, column)?,
        };
        items.push(item);
        match after {
            Some(next) => rest = next,
            None => return Ok(items),
        }
    }
}

fn plain_item(rest: &str, column: usize) -> Result<(String, Option<&str>), String> {
    let end = rest.find([',', '\n']).unwrap_or(rest.len());
    let item = rest[..end].trim_end_matches('\r');
    if let Some(quote) = item.find('"') {
        return Err(format!("parse error on line 1, column {}: bare \" in non-quoted field", column + quote));
    }
    let after = rest[end..].strip_prefix(',');
    Ok((item.to_owned(), after))
}

fn quoted_item<'a>(mut rest: &'a str, whole: &str) -> Result<(String, Option<&'a str>), String> {
    let mut item = String::new();
    loop {
        let Some(end) = rest.find('"') else {
            let column = whole.len() + 1;
            return Err(format!(
                "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
            ));
        };
        item.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.as_bytes().first() {
            Some(b'"') => {
                item.push('"');
                rest = &rest[1..];
            }
            Some(b',') => return Ok((item, Some(&rest[1..]))),
            None | Some(b'\n' | b'\r') => return Ok((item, None)),
            Some(_) => {
                let column = whole.len() - rest.len();
                return Err(format!(
                    "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_bases_signs_and_underscores() {
        for (text, value) in [
            ("0", 0),
            ("-1", -1),
            ("+7", 7),
            ("0x1F", 31),
            ("010", 8),
            ("0b101", 5),
            ("0o17", 15),
            ("0x_ff", 255),
        ] {
            assert_eq!(parse_int(text), Ok(value), "{text}");
        }
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn refused_integers_say_why() {
        for (text, message) in [
            ("", r#"strconv.ParseInt: parsing "": invalid syntax"#),
            ("abc", r#"strconv.ParseInt: parsing "abc": invalid syntax"#),
            ("1__0", r#"strconv.ParseInt: parsing "1__0": invalid syntax"#),
            ("9223372036854775808", r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#),
        ] {
            assert_eq!(parse_int(text), Err(message.to_owned()));
        }
        assert_eq!(parse_uint("-1"), Err(r#"strconv.ParseUint: parsing "-1": invalid syntax"#.to_owned()));
    }

    #[test]
    fn records_split_like_csv() {
        assert_eq!(split_record("").unwrap(), Vec::<String>::new());
        assert_eq!(split_record("a,b").unwrap(), ["a", "b"]);
        assert_eq!(split_record("a,").unwrap(), ["a", ""]);
        assert_eq!(split_record(r##"a,"b,""c""""##).unwrap(), ["a", r#"b,"c""#]);
        assert!(split_record(r#"a"b"#).unwrap_err().contains("bare \""));
        assert!(split_record(r#""ab"#).unwrap_err().contains("missing \""));
    }
}
