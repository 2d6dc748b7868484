//! The name/value items that components, HTTP endpoints and MCP servers share
//! (runtime.md §3.3): plain values, environment references, secret references
//! and templates.

use base64::Engine;
use dapr_gocompat::json::to_go_json;
use dapr_gocompat::quote::unquote;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::template::{EnvSource, env_allowed};

/// A value that may be any JSON. Kept as text: the raw JSON of a file, or the
/// plain text of an environment variable or a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicValue {
    raw: String,
}

impl DynamicValue {
    /// Raw JSON, or text that is used as it is.
    pub fn from_raw(raw: impl Into<String>) -> Self {
        Self { raw: raw.into() }
    }

    /// Nothing was given; an empty JSON string is something.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// A string without its quotes, anything else as raw text.
    pub fn text(&self) -> String {
        unquote(&self.raw).unwrap_or_else(|| self.raw.clone())
    }
}

impl From<&Value> for DynamicValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::default(),
            value => Self { raw: String::from_utf8_lossy(&to_go_json(value)).into_owned() },
        }
    }
}

impl<'de> Deserialize<'de> for DynamicValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(|value| Self::from(&value))
    }
}

/// A value in a secret store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretKeyRef {
    pub name: String,
    /// Field of the secret; empty means the field called like the secret.
    pub key: String,
}

/// One item of `spec.metadata` or `spec.headers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetadataItem {
    pub name: String,
    pub value: DynamicValue,
    pub secret_key_ref: SecretKeyRef,
    /// Name of an environment variable; counts only without a value.
    pub env_ref: String,
}

impl MetadataItem {
    pub fn new(name: impl Into<String>, value: &str) -> Self {
        let value = DynamicValue::from(&Value::from(value));
        Self { name: name.into(), value, ..Self::default() }
    }

    fn wants_env(&self) -> bool {
        self.value.is_empty() && !self.env_ref.is_empty()
    }
}

/// A secret that an item asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Position of the item.
    pub item: usize,
    /// Name of the item.
    pub property: String,
    /// Name of the secret in the store.
    pub secret: String,
    /// Field of the secret.
    pub key: String,
}

/// The secrets that `items` ask for, in order. Items that are served by an
/// environment reference ask for none.
pub fn secret_refs(items: &[MetadataItem]) -> Vec<SecretRef> {
    let wanted = |item: &MetadataItem| !item.wants_env() && !item.secret_key_ref.name.is_empty();
    let refs = items.iter().enumerate().filter(|(_, item)| wanted(item));
    refs.map(|(index, item)| {
        let SecretKeyRef { name, key } = &item.secret_key_ref;
        let key = if key.is_empty() { name } else { key };
        SecretRef { item: index, property: item.name.clone(), secret: name.clone(), key: key.clone() }
    })
    .collect()
}

/// Puts fetched secrets in place; where `value_of` answers `None` or an empty
/// text the item keeps what it has.
pub fn apply_secrets(items: &mut [MetadataItem], mut value_of: impl FnMut(&SecretRef) -> Option<String>) {
    for wanted in secret_refs(items) {
        if let Some(value) = value_of(&wanted).filter(|value| !value.is_empty()) {
            items[wanted.item].value = DynamicValue::from_raw(value);
        }
    }
}

/// Decodes the secrets that the operator put in place base64-encoded. Returns
/// what could not be decoded, worded for the log.
pub fn decode_inlined_secrets(items: &mut [MetadataItem]) -> Vec<String> {
    let mut problems = Vec::new();
    for wanted in secret_refs(items) {
        let item = &mut items[wanted.item];
        let text = serde_json::from_str::<String>(item.value.raw()).map_err(|e| e.to_string());
        let engine = &base64::engine::general_purpose::STANDARD;
        match text.and_then(|text| engine.decode(text).map_err(|e| e.to_string())) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes)
                    .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                item.value = DynamicValue::from_raw(text);
            }
            Err(problem) => {
                problems.push(format!("Error decoding secret: {problem} (property {})", item.name))
            }
        }
    }
    problems
}

/// Replaces environment references by the variables' values. Returns the
/// refusals, worded for the log; `kind` and `name` say whose items these are.
pub fn apply_env(items: &mut [MetadataItem], kind: &str, name: &str, env: &dyn EnvSource) -> Vec<String> {
    let mut refused = Vec::new();
    for item in items.iter_mut().filter(|item| item.wants_env()) {
        let variable = std::mem::take(&mut item.env_ref);
        // The reference settles the item: a secret reference beside it is not followed.
        item.secret_key_ref = SecretKeyRef::default();
        if env_allowed(&variable, env) {
            item.value = DynamicValue::from_raw(env.get(&variable).unwrap_or_default());
        } else {
            refused.push(format!("{kind} {name} references an env variable that isn't allowed: {variable}"));
        }
    }
    refused
}

/// A certificate or key, in place or in a secret store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsDocument {
    pub value: Option<DynamicValue>,
    pub secret_key_ref: Option<SecretKeyRef>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn item(name: &str, env_ref: &str, secret: &str) -> MetadataItem {
        let secret_key_ref = SecretKeyRef { name: secret.to_owned(), key: String::new() };
        MetadataItem {
            name: name.to_owned(),
            env_ref: env_ref.to_owned(),
            secret_key_ref,
            ..Default::default()
        }
    }

    #[test]
    fn values_are_strings_or_raw_json() {
        let table = [
            (serde_json::json!("a\"<b>"), "a\"<b>"),
            (serde_json::json!(""), ""),
            (serde_json::json!(12), "12"),
            (serde_json::json!(1.0), "1"),
            (serde_json::json!(true), "true"),
            (serde_json::json!(["a", {"b": 1}]), "[\"a\",{\"b\":1}]"),
            (Value::Null, ""),
        ];
        for (value, text) in table {
            assert_eq!(DynamicValue::from(&value).text(), text);
        }
        assert!(!DynamicValue::from(&Value::from("")).is_empty());
        assert!(DynamicValue::from(&Value::Null).is_empty());
        // A secret that looks like a literal loses its quotes, as in the reference.
        assert_eq!(DynamicValue::from_raw("\"quoted\"").text(), "quoted");
    }

    #[test]
    fn env_references_serve_items_without_a_value() {
        let env = HashMap::from([("HOST", "db"), ("DAPR_API_TOKEN", "t")]);
        let mut items = vec![
            item("host", "HOST", "ignored"),
            item("missing", "NOPE", ""),
            item("token", "dapr_api_token", ""),
            item("app", "App_Api_Token", ""),
            item("space", "A B", ""),
            MetadataItem { env_ref: "HOST".to_owned(), ..MetadataItem::new("set", "") },
        ];
        let refused = apply_env(&mut items, "Component", "c", &env);
        let texts: Vec<_> = items.iter().map(|i| i.value.text()).collect();
        assert_eq!(texts, ["db", "", "", "", "", ""]);
        assert_eq!(
            refused,
            ["dapr_api_token", "App_Api_Token", "A B"].map(|variable| format!(
                "Component c references an env variable that isn't allowed: {variable}"
            ))
        );
        assert!(secret_refs(&items).is_empty());
    }

    #[test]
    fn secrets_fill_the_items_that_ask() {
        let mut items = vec![item("a", "", "s1"), item("b", "", "s2"), MetadataItem::new("c", "x")];
        items[1].secret_key_ref.key = "k".to_owned();
        let refs = secret_refs(&items);
        assert_eq!(
            refs.iter().map(|r| (&*r.secret, &*r.key)).collect::<Vec<_>>(),
            [("s1", "s1"), ("s2", "k")]
        );
        apply_secrets(&mut items, |r| (r.secret == "s1").then(|| "one".to_owned()));
        assert_eq!(items[0].value.text(), "one");
        assert!(items[1].value.is_empty());
    }

    #[test]
    fn inlined_secrets_are_decoded() {
        let mut items = vec![item("a", "", "s"), item("b", "", "s")];
        items[0].value = DynamicValue::from(&Value::from("aGVsbG8="));
        items[1].value = DynamicValue::from(&Value::from("%"));
        let problems = decode_inlined_secrets(&mut items);
        assert_eq!(items[0].value.text(), "hello");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("property b"), "{problems:?}");
    }
}
