use serde_json::{Value, json};

/// A Configuration by which the sidecars of one machine find each other without
/// multicast; `FOLDER` stands for a folder of theirs.
pub const SQLITE_RESOLVER: &str = "
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: config}
spec:
  nameResolution:
    component: sqlite
    version: v1
    configuration: {connectionString: 'FOLDER/names.db'}
";

/// The manifest of a component in version `v1`. `metadata` is an object of
/// names and values; a value that is an object is the whole entry but its name
/// (`{"secretKeyRef": ...}`).
pub fn component(name: &str, kind: &str, metadata: &Value) -> String {
    component_document(name, kind, metadata).to_string()
}

/// Like [`component`], to be changed.
pub fn component_document(name: &str, kind: &str, metadata: &Value) -> Value {
    let entry = |(name, value): (&String, &Value)| {
        let mut entry = match value {
            Value::Object(_) => value.clone(),
            _ => json!({"value": value}),
        };
        entry["name"] = json!(name);
        entry
    };
    let entries: Vec<_> = metadata.as_object().into_iter().flatten().map(entry).collect();
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "version": "v1", "metadata": entries},
    })
}
