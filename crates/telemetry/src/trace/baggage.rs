//! W3C baggage: validation and the normal form.

use dapr_gocompat::quote::quote;
use dapr_gocompat::urlesc::path_unescape;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

const MAX_MEMBERS: usize = 64;
const MAX_BYTES: usize = 8192;
/// Faulty members that a message names.
const MAX_NAMED: usize = 5;

/// What a value may not hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// Everything that is wrong with a baggage text, one reason a line; follows
/// `invalid baggage header: ` in answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BaggageError(Vec<String>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    key: String,
    value: String,
    properties: Vec<(String, Option<String>)>,
}

/// Valid baggage, in the order given; a repeated key keeps its last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage(Vec<Member>);

impl Baggage {
    /// From a header; several header lines are joined with commas before.
    pub fn parse(text: &str) -> Result<Self, BaggageError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_BYTES {
            return Err(BaggageError(vec![format!("baggage-string too large: {}", text.len())]));
        }
        let (mut members, mut faults, mut faulty) = (Vec::<Member>::new(), Vec::new(), 0usize);
        for part in text.split(',') {
            if members.len() >= MAX_MEMBERS {
                faults.push("too many list-members in baggage-string".to_owned());
                break;
            }
            match parse_member(part) {
                Ok(member) => match members.iter_mut().find(|m| m.key == member.key) {
                    Some(same) => *same = member,
                    None => members.push(member),
                },
                Err(fault) => {
                    faulty += 1;
                    if faulty <= MAX_NAMED {
                        faults.push(fault);
                    }
                }
            }
        }
        if encoded(&members).len() > MAX_BYTES {
            faults.push("baggage-string too large".to_owned());
        }
        if faulty > MAX_NAMED {
            faults.push(format!("and {} more invalid member(s)", faulty - MAX_NAMED));
        }
        if faults.is_empty() { Ok(Self(members)) } else { Err(BaggageError(faults)) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The decoded value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|m| m.key == key).map(|m| m.value.as_str())
    }
}

/// The normal form, as gRPC echoes it.
impl std::fmt::Display for Baggage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&encoded(&self.0))
    }
}

fn encoded(members: &[Member]) -> String {
    let mut out = String::new();
    for member in members {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&member.key);
        out.push('=');
        out.extend(utf8_percent_encode(&member.value, ESCAPED));
        for (key, value) in &member.properties {
            out.push(';');
            out.push_str(key);
            if let Some(value) = value {
                out.push('=');
                out.extend(utf8_percent_encode(value, ESCAPED));
            }
        }
    }
    out
}

fn parse_member(text: &str) -> Result<Member, String> {
    let (pair, properties) = match text.split_once(';') {
        Some((pair, properties)) => (pair, Some(properties)),
        None => (text, None),
    };
    let properties = properties.into_iter().flat_map(|p| p.split(';')).filter(|p| !p.is_empty());
    let properties = properties
        .map(|p| {
            parse_property(p).ok_or_else(|| format!("invalid baggage list-member property: {}", quote(p)))
        })
        .collect::<Result<_, _>>()?;
    let (key, value) =
        pair.split_once('=').ok_or_else(|| format!("invalid baggage list-member: {}", quote(text)))?;
    let (key, raw) = (key.trim(), value.trim());
    if !is_key(key) {
        return Err(format!("invalid key: {}", quote(key)));
    }
    if !raw.bytes().all(is_value_byte) {
        return Err(format!("invalid value: {}", quote(value)));
    }
    let value = path_unescape(raw).map_err(|e| format!("invalid value: {e}"))?;
    Ok(Member { key: key.to_owned(), value, properties })
}

/// `key`, or `key = value`, blanks allowed around each.
fn parse_property(text: &str) -> Option<(String, Option<String>)> {
    let blank = [' ', '\t'];
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.trim_matches(blank))),
        None => (text, None),
    };
    let key = key.trim_matches(blank);
    if !is_key(key) || !value.is_none_or(|v| v.bytes().all(is_value_byte)) {
        return None;
    }
    let value = value.map(path_unescape).transpose().ok()?;
    Some((key.to_owned(), value))
}

/// An HTTP token.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Baggage::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn valid_baggage_has_a_normal_form() {
        for (text, normal) in [
            ("", ""),
            ("key1=value1,key2=value2", "key1=value1,key2=value2"),
            (" a = b ; p = 1 ;q , c=d%20e", "a=b;p=1;q,c=d%20e"),
            ("a=x=y,a=%C3%A4", "a=%C3%A4"),
            ("empty=", "empty="),
        ] {
            assert_eq!(Baggage::parse(text).unwrap().to_string(), normal, "{text}");
        }
        assert_eq!(Baggage::parse("c=d%20e").unwrap().get("c"), Some("d e"));
    }

    #[test]
    fn faults_say_what_is_wrong() {
        assert_eq!(fault("invalid-baggage"), "invalid baggage list-member: \"invalid-baggage\"");
        assert_eq!(fault("a b=c"), "invalid key: \"a b\"");
        assert_eq!(fault("=c"), "invalid key: \"\"");
        assert_eq!(fault("a=b c"), "invalid value: \"b c\"");
        assert_eq!(fault("a=%zz"), "invalid value: invalid URL escape \"%zz\"");
        assert_eq!(fault("a=b;p q"), "invalid baggage list-member property: \"p q\"");
        assert_eq!(fault("a=b,,c"), "invalid baggage list-member: \"\"\ninvalid baggage list-member: \"c\"");
    }

    #[test]
    fn limits() {
        assert_eq!(fault(&"x".repeat(8193)), "baggage-string too large: 8193");
        let many: Vec<String> = (0..65).map(|i| format!("k{i}=v")).collect();
        assert_eq!(fault(&many.join(",")), "too many list-members in baggage-string");
        assert!(Baggage::parse(&many[..64].join(",")).is_ok());
        assert!(fault("a,b,c,d,e,f,g").ends_with("\nand 2 more invalid member(s)"));
    }
}
