//! Configuration objects, whose names match without regard to case.

use std::time::Duration;

use serde_json::{Map, Value};

#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Nothing and `null` are an empty object.
    pub(crate) fn of(value: &Value, what: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(map) => Ok(Self(map.clone())),
            _ => Err(format!("error deserializing to configSpec: {what} must be an object")),
        }
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// Sets a field under the spelling that is there already, if any.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        let known = self.0.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
        self.0.insert(known.unwrap_or_else(|| name.to_owned()), value);
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, String> {
        match self.get(name) {
            Value::Null => Ok(None),
            value => Self::of(value, name).map(Some),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, String> {
        match self.get(name) {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(mismatch(name, "text")),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            _ => Err(mismatch(name, "true or false")),
        }
    }

    /// Nanoseconds.
    pub(crate) fn nanoseconds(&self, name: &str) -> Result<Duration, String> {
        match self.get(name) {
            Value::Null => Ok(Duration::ZERO),
            value => value.as_u64().map(Duration::from_nanos).ok_or_else(|| mismatch(name, "nanoseconds")),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn mismatch(name: &str, kind: &str) -> String {
    format!("error deserializing to configSpec: {name} must be {kind}")
}
