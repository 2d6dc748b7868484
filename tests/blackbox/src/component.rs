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
