//! Request bodies with the decoding rules of Go's JSON package: field names
//! match without regard to case, unknown fields and trailing bytes are
//! ignored, `null` leaves a field empty (api.md §1.2).

use std::collections::HashMap;

use dapr_gocompat::json::{self, JsonError, kind_name, unmarshal_field_error, unmarshal_type_error};
use serde_json::{Map, Value};

/// A body or field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError(String);

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<JsonError> for FieldError {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

/// The first JSON value of a body.
pub fn first_value(body: &[u8]) -> Result<Value, FieldError> {
    Ok(json::decode_first(body)?.0)
}

/// The fields of one object.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    type_name: &'static str,
}

impl Fields {
    /// `type_name` is how errors call the target type.
    pub fn of(value: Value, type_name: &'static str) -> Result<Self, FieldError> {
        match value {
            Value::Object(map) => Ok(Self { map, type_name }),
            Value::Null => Ok(Self { map: Map::new(), type_name }),
            other => Err(FieldError(unmarshal_type_error(kind_name(&other), type_name))),
        }
    }

    /// Takes a field out; exact spelling wins over others.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        if let Some(value) = self.map.remove(name) {
            return Some(value);
        }
        let found = self.map.keys().find(|k| k.eq_ignore_ascii_case(name))?.clone();
        self.map.remove(&found)
    }

    pub fn string(&mut self, name: &str) -> Result<String, FieldError> {
        Ok(self.optional_string(name)?.unwrap_or_default())
    }

    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(name, &other, "string")),
        }
    }

    pub fn integer(&mut self, name: &str) -> Result<i64, FieldError> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(0),
            Some(other) => {
                match other.as_i64().or_else(|| other.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
                {
                    Some(number) => Ok(number),
                    None => Err(self.mismatch(name, &other, "int")),
                }
            }
        }
    }

    pub fn strings(&mut self, name: &str) -> Result<Vec<String>, FieldError> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    Value::Null => Ok(String::new()),
                    other => Err(self.mismatch(name, &other, "string")),
                })
                .collect(),
            Some(other) => Err(self.mismatch(name, &other, "[]string")),
        }
    }

    pub fn string_map(&mut self, name: &str) -> Result<Option<HashMap<String, String>>, FieldError> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => map
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key, text)),
                    Value::Null => Ok((key, String::new())),
                    other => Err(self.mismatch(name, &other, "string")),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.mismatch(name, &other, "map[string]string")),
        }
    }

    /// A list of objects.
    pub fn objects(&mut self, name: &str) -> Result<Vec<Fields>, FieldError> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.into_iter().map(|item| Fields::of(item, self.type_name)).collect()
            }
            Some(other) => Err(self.mismatch(name, &other, "[]object")),
        }
    }

    fn mismatch(&self, name: &str, value: &Value, wanted: &str) -> FieldError {
        let short = self.type_name.rsplit('.').next().unwrap_or(self.type_name);
        FieldError(unmarshal_field_error(kind_name(value), &format!("{short}.{name}"), wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_match_without_case_and_null_is_empty() {
        let mut f = Fields::of(json!({"KEY": "k", "etag": null, "Metadata": {"a": "b"}}), "state.SetRequest")
            .unwrap();
        assert_eq!(f.string("key").unwrap(), "k");
        assert_eq!(f.optional_string("etag").unwrap(), None);
        assert_eq!(f.string_map("metadata").unwrap().unwrap()["a"], "b");
    }

    #[test]
    fn mismatches_read_like_go() {
        let mut f = Fields::of(json!({"key": 1}), "state.SetRequest").unwrap();
        assert_eq!(
            f.string("key").unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field SetRequest.key of type string"
        );
        assert_eq!(
            Fields::of(json!([]), "http.X").unwrap_err().to_string(),
            "json: cannot unmarshal array into Go value of type http.X"
        );
    }
}
