use serde_json::{Map, Value};

use crate::resource::{Manifest, Resource};
use crate::source::Source;

/// A Configuration document in a resources folder: it is not applied there, but
/// its change restarts the sidecar (runtime.md §4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigurationDocument {
    pub name: String,
    pub namespace: String,
    /// As written.
    pub spec: Map<String, Value>,
    pub scopes: Vec<String>,
    pub source: Source,
}

impl Resource for ConfigurationDocument {
    const KIND: &'static str = "Configuration";
    const API_VERSION: &'static str = "dapr.io/v1alpha1";
    type Spec = Map<String, Value>;

    fn from_manifest(manifest: Manifest<Self::Spec>, source: Source) -> Self {
        let Manifest { metadata, spec, scopes, .. } = manifest;
        Self { name: metadata.name, namespace: metadata.namespace, spec, scopes, source }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn scopes(&self) -> &[String] {
        &self.scopes
    }

    fn source(&self) -> &Source {
        &self.source
    }

    fn comparable(&self) -> Self {
        Self { namespace: String::new(), source: Source::default(), ..self.clone() }
    }
}
