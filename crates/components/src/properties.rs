use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dapr_gocompat::{bools, duration, quantity};
use parking_lot::Mutex;

/// Metadata of a component, looked up without regard to case.
///
/// The plain getters follow the standard decoder of components.md §1.4; the
/// `legacy_*` ones the decoder of the Redis components.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// Lower-cased name -> (name as written, value).
    values: HashMap<String, (String, String)>,
    /// Names that were looked up, lower-cased; see [`Properties::recording`].
    asked: Option<Arc<Mutex<BTreeSet<String>>>>,
}

/// A property that is missing or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    #[error("key {0} is duplicate in the metadata")]
    Duplicate(String),
    #[error("missing required metadata property '{0}'")]
    Missing(String),
    #[error("invalid value '{value}' for metadata property '{name}': {reason}")]
    Invalid { name: String, value: String, reason: String },
}

impl Properties {
    /// Fails when two names differ by case only.
    pub fn new<K: Into<String>, V: Into<String>>(
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, PropertyError> {
        let mut values = HashMap::new();
        for (name, value) in items {
            let name = name.into();
            let folded = name.to_lowercase();
            if values.insert(folded.clone(), (name, value.into())).is_some() {
                return Err(PropertyError::Duplicate(folded));
            }
        }
        Ok(Self { values, asked: None })
    }

    /// Properties that remember which names were looked up: how a description
    /// is held against its decoder.
    pub(crate) fn recording<K: Into<String>, V: Into<String>>(
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, PropertyError> {
        Self::new(items).map(|properties| Self { asked: Some(Arc::default()), ..properties })
    }

    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.as_ref().map(|asked| asked.lock().clone()).unwrap_or_default()
    }

    fn note(&self, name: &str) {
        if let Some(asked) = &self.asked {
            asked.lock().insert(name.to_lowercase());
        }
    }

    /// Sets or replaces a property.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_lowercase(), (name.to_owned(), value.into()));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.note(name);
        if let Some((_, value)) = self.values.get(name) {
            return Some(value);
        }
        self.values.get(&name.to_lowercase()).map(|(_, value)| value.as_str())
    }

    /// First present of `names`: a main name and its aliases.
    pub fn get_any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Exact-case lookup, where the contract demands it.
    pub fn get_exact(&self, name: &str) -> Option<&str> {
        self.note(name);
        self.values.get(&name.to_lowercase()).filter(|(written, _)| written == name).map(|(_, v)| v.as_str())
    }

    /// Non-empty value or an error naming the property.
    pub fn required(&self, name: &str) -> Result<&str, PropertyError> {
        self.get(name).filter(|v| !v.is_empty()).ok_or_else(|| PropertyError::Missing(name.to_owned()))
    }

    /// Names as written, with values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.values().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Truthy words are true, all else is false, never an error.
    pub fn truthy(&self, name: &str) -> bool {
        self.get(name).is_some_and(bools::is_truthy)
    }

    pub fn truthy_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, bools::is_truthy)
    }

    /// Go duration or whole seconds; empty is zero.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, PropertyError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        if text.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        duration::parse_duration_or_seconds(text).map(Some).map_err(|e| invalid(name, text, e))
    }

    /// A whole number.
    pub fn integer<T>(&self, name: &str) -> Result<Option<T>, PropertyError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        match self.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => text.trim().parse().map(Some).map_err(|e| invalid(name, text, e)),
        }
    }

    /// A Kubernetes quantity in bytes.
    pub fn byte_size(&self, name: &str) -> Result<Option<i64>, PropertyError> {
        match self.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => quantity::parse_quantity(text).map(Some).map_err(|e| invalid(name, text, e)),
        }
    }

    /// Comma list without trimming.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.get(name)
            .filter(|v| !v.is_empty())
            .map(|v| v.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// Strict Go boolean.
    pub fn legacy_bool(&self, name: &str) -> Result<Option<bool>, PropertyError> {
        match self.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => bools::parse_bool(text).map(Some).map_err(|e| invalid(name, text, e)),
        }
    }

    /// Whole milliseconds or Go duration.
    pub fn legacy_duration(&self, name: &str) -> Result<Option<Duration>, PropertyError> {
        match self.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => {
                duration::parse_duration_or_millis(text).map(Some).map_err(|e| invalid(name, text, e))
            }
        }
    }
}

fn invalid(name: &str, value: &str, reason: impl std::fmt::Display) -> PropertyError {
    PropertyError::Invalid { name: name.to_owned(), value: value.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_ignores_case_and_duplicates_are_refused() {
        let p = Properties::new([("RedisHost", "a")]).unwrap();
        assert_eq!(p.get("redishost"), Some("a"));
        assert_eq!(p.get_exact("redisHost"), None);
        assert_eq!(
            Properties::new([("a", "1"), ("A", "2")]).unwrap_err().to_string(),
            "key a is duplicate in the metadata"
        );
    }

    #[test]
    fn the_two_decoders_read_plain_integers_differently() {
        let p = Properties::new([("t", "30")]).unwrap();
        assert_eq!(p.duration("t").unwrap(), Some(Duration::from_secs(30)));
        assert_eq!(p.legacy_duration("t").unwrap(), Some(Duration::from_millis(30)));
    }

    #[test]
    fn an_error_names_the_property_and_the_value() {
        let p = Properties::new([("timeout", "soon")]).unwrap();
        let text = p.duration("timeout").unwrap_err().to_string();
        assert!(text.contains("timeout") && text.contains("soon"), "{text}");
    }
}
