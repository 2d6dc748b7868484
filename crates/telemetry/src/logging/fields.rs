//! The fields of one event.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// Message and fields as they were given.
#[derive(Default)]
pub(super) struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    pub(super) fn set_message(&mut self, message: String) {
        self.message = message;
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.rest.iter().map(|(key, value)| (*key, value))
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = text(&value),
            // Left by the bridge from the `log` crate.
            name if name.starts_with("log.") => {}
            name => self.rest.push((name, value)),
        }
    }
}

/// A value as the text format prints it, before quoting.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, Value::from(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}
