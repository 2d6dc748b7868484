//! JSON with the output, leniency and messages of Go's `encoding/json`
//! (api.md §1.2).

mod compact;
mod decode;
mod encode;
mod normal;

use serde_json::Value;

pub use compact::{compact, write_compact};
pub use decode::{JsonError, decode_first, decode_whole, normalize};
pub use encode::{escape_str, to_go_json, write_go_json};
pub use normal::Normalizer;

/// What a decoder calls the kind of a value; `null` fits every type and has no complaint.
pub fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `json: cannot unmarshal object into Go value of type T`: `kind` as
/// [`kind_name`] gives it, `target` the Go name of the type.
pub fn unmarshal_type_error(kind: &str, target: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go value of type {target}")
}

/// `json: cannot unmarshal string into Go struct field S.path of type T`:
/// `field` is the struct name and the JSON path below it.
pub fn unmarshal_field_error(kind: &str, field: &str, target: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go struct field {field} of type {target}")
}

#[cfg(test)]
mod tests;
