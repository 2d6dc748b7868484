//! The schema that an answer has to satisfy, as providers want it.

use dapr_components::conversation::Request;
use serde_json::{Map, Value};

/// How deep a schema may be nested.
const MAX_DEPTH: usize = 64;

/// A named JSON schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Structured {
    pub name: String,
    pub description: String,
    pub strict: bool,
    pub schema: Value,
}

impl Structured {
    /// `None` without a schema, and with one that cannot be used: the log says
    /// so and the model answers freely.
    pub fn of(request: &Request) -> Option<Self> {
        let format = request.response_format.as_ref()?;
        match read(format) {
            Ok(structured) => Some(structured),
            Err(reason) => {
                tracing::warn!(
                    target: "dapr.contrib",
                    "failed to convert response format to structured output, will continue without structured output: {reason}"
                );
                None
            }
        }
    }
}

fn read(format: &Map<String, Value>) -> Result<Structured, String> {
    if !format.get("type").is_some_and(Value::is_string) {
        return Err("schema type is required and must be a string".into());
    }
    let text = |key: &str| format.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut schema = format.clone();
    // What belongs to the definition around the schema.
    schema.remove("name");
    schema.remove("strict");
    let mut schema = Value::Object(schema);
    close(&mut schema, MAX_DEPTH)?;
    Ok(Structured {
        name: Some(text("name")).filter(|n| !n.is_empty()).unwrap_or("response").to_owned(),
        description: text("description").to_owned(),
        strict: format.get("strict").and_then(Value::as_bool).unwrap_or(false),
        schema,
    })
}

/// Objects have no further properties unless they say so: providers insist on
/// it being said.
fn close(schema: &mut Value, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("schema is nested more than {MAX_DEPTH} levels deep"));
    }
    let Value::Object(schema) = schema else { return Ok(()) };
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for (name, property) in properties {
                if !property.get("type").is_some_and(Value::is_string) {
                    return Err(format!("failed to convert property \"{name}\": schema type is required"));
                }
                close(property, depth - 1)?;
            }
        }
    }
    match schema.get_mut("items") {
        Some(items) => close(items, depth - 1),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(format: Value) -> Option<Structured> {
        let response_format = Some(format.as_object().unwrap().clone());
        Structured::of(&Request { response_format, ..Request::default() })
    }

    #[test]
    fn objects_are_closed_at_every_level() {
        let structured = of(json!({
            "type": "object", "name": "person", "strict": true,
            "properties": {
                "tags": {"type": "array", "items": {"type": "object", "properties": {"t": {"type": "string"}}}},
                "open": {"type": "object", "additionalProperties": true},
            },
        }))
        .unwrap();
        assert_eq!((structured.name.as_str(), structured.strict), ("person", true));
        assert_eq!(
            structured.schema,
            json!({
                "type": "object", "additionalProperties": false,
                "properties": {
                    "tags": {"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {"t": {"type": "string"}}}},
                    "open": {"type": "object", "additionalProperties": true},
                },
            })
        );
        assert_eq!(of(json!({"type": "string"})).unwrap().name, "response");
    }

    #[test]
    fn a_schema_without_types_is_left_out() {
        assert_eq!(of(json!({"properties": {}})), None);
        assert_eq!(of(json!({"type": "object", "properties": {"a": {}}})), None);
        assert_eq!(Structured::of(&Request::default()), None);
    }
}
