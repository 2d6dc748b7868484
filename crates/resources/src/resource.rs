use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decode::{DecodeError, decode};
use crate::source::Source;
use crate::yaml::{Dialect, Node};

/// A kind of resource.
pub trait Resource: Clone + PartialEq + Sized {
    const KIND: &'static str;
    const API_VERSION: &'static str;
    /// Shape of `spec`.
    type Spec: DeserializeOwned + Default;

    /// Builds the resource from its decoded manifest.
    fn from_manifest(manifest: Manifest<Self::Spec>, source: Source) -> Self;

    fn name(&self) -> &str;
    fn namespace(&self) -> &str;
    /// App ids the resource is meant for; empty means all.
    fn scopes(&self) -> &[String];
    fn source(&self) -> &Source;
    /// A copy without what is not content: source, and namespace.
    fn comparable(&self) -> Self;

    /// How logs and errors call the resource.
    fn log_name(&self) -> String {
        self.name().to_owned()
    }

    /// Whether the process made it itself, so that no file or operator lists it.
    fn is_builtin(&self) -> bool {
        false
    }

    fn is_scoped_to(&self, app_id: &str) -> bool {
        self.scopes().is_empty() || self.scopes().iter().any(|scope| scope == app_id)
    }

    /// Decodes one YAML document; kind and version were checked before.
    fn from_node(node: &Node, source: Source) -> Result<Self, DecodeError> {
        decode::<Manifest<Self::Spec>>(node, Dialect::Resource, Self::KIND)
            .map(|manifest| Self::from_manifest(manifest, source))
    }

    /// Decodes a custom resource as the operator sends it.
    fn from_json(json: &Value) -> Result<Self, DecodeError> {
        Self::from_node(&Node::from_json(json), Source::default())
    }
}

/// The outer shape that all kinds share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, bound = "S: DeserializeOwned + Default")]
pub struct Manifest<S> {
    pub metadata: ObjectMeta,
    pub spec: S,
    pub auth: Auth,
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectMeta {
    pub name: String,
    pub namespace: String,
    /// Values of any shape, as documents have them.
    pub annotations: std::collections::BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Auth {
    pub secret_store: String,
}

/// Reads enough of a document to know what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TypeMeta {
    pub api_version: String,
    pub kind: String,
    pub metadata: NameOnly,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct NameOnly {
    pub name: String,
}

/// Whether a name can stand in a URL path; otherwise why not.
pub(crate) fn check_name(name: &str, kind: &str) -> Result<(), String> {
    let mut problems = Vec::new();
    if matches!(name, "." | "..") {
        problems.push(format!("may not be '{name}'"));
    } else {
        for illegal in ["/", "%"] {
            if name.contains(illegal) {
                problems.push(format!("may not contain '{illegal}'"));
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let quote = dapr_gocompat::quote::quote;
    Err(format!("invalid name {} for {}: {}", quote(name), quote(kind), problems.join("; ")))
}
