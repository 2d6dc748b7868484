//! The definition of one flag.

use std::borrow::Cow;
use std::time::Duration;

use crate::value::Value;

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    String,
    /// Signed 64 bit; `0x`, `0o`, `0b` and a leading `0` select the base.
    Int,
    /// Unsigned 64 bit, same bases.
    Uint,
    /// `1h2m3s`.
    Duration,
    /// Split on commas (CSV quoting), and repeatable.
    List,
    /// Repeatable, each occurrence taken whole.
    Array,
    /// Number of occurrences.
    Count,
}

/// One flag: name, kind, default and how it shows in usage.
#[derive(Clone, Debug)]
pub struct Flag {
    pub(crate) name: &'static str,
    pub(crate) shorthand: Option<char>,
    pub(crate) default: Value,
    pub(crate) usage: Cow<'static, str>,
    pub(crate) deprecated: Option<&'static str>,
    pub(crate) hidden: bool,
}

impl Flag {
    fn new(name: &'static str, default: Value, usage: impl Into<Cow<'static, str>>) -> Self {
        Self { name, shorthand: None, default, usage: usage.into(), deprecated: None, hidden: false }
    }

    pub fn bool(name: &'static str, default: bool, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::Bool(default), usage)
    }

    pub fn string(name: &'static str, default: &str, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::String(default.to_owned()), usage)
    }

    pub fn int(name: &'static str, default: i64, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::Int(default), usage)
    }

    pub fn uint(name: &'static str, default: u64, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::Uint(default), usage)
    }

    pub fn duration(name: &'static str, default: Duration, usage: impl Into<Cow<'static, str>>) -> Self {
        let nanos = i64::try_from(default.as_nanos()).unwrap_or(i64::MAX);
        Self::new(name, Value::Duration(nanos), usage)
    }

    /// Comma separated and repeatable; the first occurrence replaces the default.
    pub fn list(name: &'static str, default: &[&str], usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::List(default.iter().map(|item| (*item).to_owned()).collect()), usage)
    }

    /// Repeatable, commas kept.
    pub fn array(name: &'static str, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::Array(Vec::new()), usage)
    }

    pub fn count(name: &'static str, usage: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Value::Count(0), usage)
    }

    /// The one-letter form.
    #[must_use]
    pub fn short(mut self, letter: char) -> Self {
        self.shorthand = Some(letter);
        self
    }

    /// Still accepted, no longer listed; using it adds the warning
    /// `Flag --NAME has been deprecated, HINT`.
    #[must_use]
    pub fn deprecated(mut self, hint: &'static str) -> Self {
        self.deprecated = Some(hint);
        self.hidden = true;
        self
    }

    /// Accepted but not listed.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn shorthand(&self) -> Option<char> {
        self.shorthand
    }

    pub fn kind(&self) -> Kind {
        self.default.kind()
    }

    pub fn usage(&self) -> &str {
        &self.usage
    }

    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// The value that the flag takes when none follows it.
    pub(crate) fn implied_value(&self) -> Option<&'static str> {
        match self.kind() {
            Kind::Bool => Some("true"),
            Kind::Count => Some("+1"),
            _ => None,
        }
    }

    /// Whether the flag consumes the next argument when written without `=`.
    pub fn takes_value(&self) -> bool {
        self.implied_value().is_none()
    }
}
