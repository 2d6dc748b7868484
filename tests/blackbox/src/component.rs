use serde_json::{Value, json};

/// The manifest of a component in version `v1`; `metadata` is an object of
/// names and values.
pub fn component(name: &str, kind: &str, metadata: &Value) -> String {
    let entries = metadata.as_object().into_iter().flatten();
    let entries: Vec<_> = entries.map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "version": "v1", "metadata": entries},
    })
    .to_string()
}
