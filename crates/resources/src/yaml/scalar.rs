use super::{Dialect, YamlError};

/// A scalar as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    /// Not quoted and not a block: may be something other than a string.
    pub plain: bool,
    /// Explicit tag in its short form: `!!str`, `!custom`.
    pub tag: Option<String>,
}

/// What a scalar means.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Only for values that do not fit an `i64`.
    UInt(u64),
    Float(f64),
    Str(&'a str),
}

impl Resolved<'_> {
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Resolved::Null => "!!null",
            Resolved::Bool(_) => "!!bool",
            Resolved::Int(_) | Resolved::UInt(_) => "!!int",
            Resolved::Float(_) => "!!float",
            Resolved::Str(_) => "!!str",
        }
    }
}

impl Scalar {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), plain: true, tag: None }
    }

    pub fn quoted(text: impl Into<String>) -> Self {
        Self { text: text.into(), plain: false, tag: None }
    }

    pub(super) fn is_null(&self) -> bool {
        match self.tag.as_deref() {
            None => self.plain && is_null_word(&self.text),
            Some(tag) => tag == "!!null",
        }
    }

    pub(super) fn is_merge_key(&self) -> bool {
        self.text == "<<" && (self.plain || self.tag.as_deref() == Some("!!merge"))
    }

    /// The meaning under `dialect`; fails when an explicit tag contradicts the text.
    pub fn resolve(&self, dialect: Dialect, line: usize) -> Result<Resolved<'_>, YamlError> {
        let Some(tag) = self.tag.as_deref() else {
            return Ok(if self.plain {
                resolve_plain(&self.text, dialect)
            } else {
                Resolved::Str(&self.text)
            });
        };
        if !matches!(tag, "!!bool" | "!!int" | "!!float" | "!!null" | "!!timestamp") {
            return Ok(Resolved::Str(&self.text));
        }
        let resolved = resolve_plain(&self.text, dialect);
        match (tag, &resolved) {
            ("!!float", Resolved::Int(n)) => Ok(Resolved::Float(*n as f64)),
            ("!!timestamp", Resolved::Str(_)) => Ok(resolved),
            (tag, resolved_ok) if tag == resolved_ok.tag() => Ok(resolved),
            (tag, other) => {
                let problem = format!("cannot decode {} `{}` as a {tag}", other.tag(), self.text);
                Err(YamlError::new(line, problem))
            }
        }
    }
}

fn is_null_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn resolve_plain(text: &str, dialect: Dialect) -> Resolved<'_> {
    if is_null_word(text) {
        return Resolved::Null;
    }
    match text.as_bytes()[0] {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => {
            bool_word(text, dialect).map_or(Resolved::Str(text), Resolved::Bool)
        }
        b'.' | b'+' | b'-' | b'0'..=b'9' => number(text).unwrap_or(Resolved::Str(text)),
        _ => Resolved::Str(text),
    }
}

fn bool_word(text: &str, dialect: Dialect) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ if dialect == Dialect::Resource => old_bool_word(text),
        _ => None,
    }
}

/// The words that only YAML 1.1 takes for booleans.
pub(crate) fn old_bool_word(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<Resolved<'_>> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(Resolved::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Resolved::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Resolved::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    let digits = text.replace('_', "");
    if !text.starts_with('.') {
        if let Some(resolved) = integer(&digits) {
            return Some(resolved);
        }
    } else if text.contains('_') {
        return None;
    }
    let float = is_float(&digits).then(|| digits.parse::<f64>().ok()).flatten()?;
    float.is_finite().then_some(Resolved::Float(float))
}

/// Decimal, `0x`, `0b`, octal (`0644`, `0o644`), with an optional sign.
fn integer(text: &str) -> Option<Resolved<'static>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex.to_owned())
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary.to_owned())
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal.to_owned())
    } else if let Some(octal) = lower.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (8, octal.to_owned())
    } else {
        (10, lower)
    };
    if !digits.bytes().all(|b| (b as char).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(&digits, radix).ok()?;
    match (negative, i64::try_from(magnitude)) {
        (false, Ok(n)) => Some(Resolved::Int(n)),
        // Go reads a number with a plus sign as signed only.
        (false, Err(_)) => (!text.starts_with('+')).then_some(Resolved::UInt(magnitude)),
        (true, _) => 0i64.checked_sub_unsigned(magnitude).map(Resolved::Int),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_ok = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_ok = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}
