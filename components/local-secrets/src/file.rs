//! `secretstores.local.file`: secrets are the leaves of a JSON file, read once.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use dapr_components::secrets::{Error, MULTIPLE_KEY_VALUES_PER_SECRET, RequestMetadata, Secret, SecretStore};
use dapr_components::{InitError, Properties};
use serde_json::{Map, Value};

pub struct FileStore {
    secrets: HashMap<String, Secret>,
    features: &'static [&'static str],
}

impl FileStore {
    /// Reads `secretsFile`. A relative path is relative to the working
    /// directory of the process.
    pub async fn open(properties: &Properties) -> Result<Self, InitError> {
        let path = properties
            .get("secretsFile")
            .filter(|path| !path.is_empty())
            .ok_or_else(|| InitError::new("missing local secrets file in metadata"))?;
        let text = tokio::fs::read(path)
            .await
            .map_err(|e| InitError::new(format!("can not read secretsFile: open {path}: {}", cause(&e))))?;
        let document: Option<Map<String, Value>> = serde_json::from_slice(&text)
            .map_err(|e| InitError::new(format!("secretsFile {path} does not hold a JSON object: {e}")))?;
        let separator = properties.get("nestedSeparator").filter(|s| !s.is_empty()).unwrap_or(":");
        Ok(Self::from_document(document.unwrap_or_default(), separator, properties.truthy("multiValued")))
    }

    fn from_document(document: Map<String, Value>, separator: &str, multi_valued: bool) -> Self {
        if multi_valued {
            let secrets = document.into_iter().filter_map(|(name, value)| match value {
                Value::String(text) => Some((name.clone(), Secret::from([(name, text)]))),
                Value::Object(object) => Some((name, flatten(&object, separator).into_iter().collect())),
                // Upstream drops every other kind at the top level.
                _ => None,
            });
            return Self { secrets: secrets.collect(), features: &[MULTIPLE_KEY_VALUES_PER_SECRET] };
        }
        let secrets = flatten(&document, separator)
            .into_iter()
            .map(|(name, value)| (name.clone(), Secret::from([(name, value)])));
        Self { secrets: secrets.collect(), features: &[] }
    }
}

#[async_trait]
impl SecretStore for FileStore {
    fn features(&self) -> &[&'static str] {
        self.features
    }

    async fn get(&self, name: &str, _metadata: &RequestMetadata) -> Result<Secret, Error> {
        self.secrets.get(name).cloned().ok_or_else(|| Error(format!("secret {name} not found")))
    }

    async fn bulk_get(&self, _metadata: &RequestMetadata) -> Result<HashMap<String, Secret>, Error> {
        Ok(self.secrets.clone())
    }
}

/// Leaves under their joined path. Two leaves with the same path end the walk:
/// what comes later in key order is left out (components.md §16).
fn flatten(object: &Map<String, Value>, separator: &str) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    for (key, value) in object {
        if !collect(key.clone(), value, separator, &mut leaves) {
            tracing::warn!(
                target: "dapr.contrib",
                "secretsFile: two values share a name below \"{key}\"; it and what follows are left out"
            );
            break;
        }
    }
    leaves
}

/// False when a path was already taken.
fn collect(path: String, value: &Value, separator: &str, leaves: &mut BTreeMap<String, String>) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .all(|(key, value)| collect(format!("{path}{separator}{key}"), value, separator, leaves)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .all(|(index, value)| collect(format!("{path}{separator}{index}"), value, separator, leaves)),
        leaf => match leaves.entry(path) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(render(leaf));
                true
            }
        },
    }
}

/// Anything but a string comes out the way Go prints a value under the wrong
/// verb; existing files may rely on it.
fn render(leaf: &Value) -> String {
    match leaf {
        Value::String(text) => text.clone(),
        Value::Bool(value) => format!("%!s(bool={value})"),
        Value::Number(number) => format!("%!s(float64={})", float(number.as_f64().unwrap_or(f64::NAN))),
        _ => "%!s(<nil>)".to_owned(),
    }
}

/// Go's `%v` of a float: shortest digits; exponent form below 1e-04 and from
/// 1e+06 on.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
