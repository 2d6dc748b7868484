//! Kinds whose content is read where it is used.

use serde_json::Value;

use crate::decode::{DecodeError, decode};
use crate::resource::{Manifest, Resource};
use crate::source::Source;
use crate::yaml::{Dialect, Node};

macro_rules! raw_kind {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $log_name:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            pub name: String,
            pub namespace: String,
            /// `spec` as JSON, with field names as written.
            pub spec: Value,
            pub scopes: Vec<String>,
            pub source: Source,
        }

        impl Resource for $name {
            const KIND: &'static str = $kind;
            const API_VERSION: &'static str = "dapr.io/v1alpha1";
            type Spec = Value;

            fn from_manifest(manifest: Manifest<Value>, source: Source) -> Self {
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

            fn log_name(&self) -> String {
                let log_name: fn(&Self) -> String = $log_name;
                log_name(self)
            }
        }

        impl $name {
            /// Decodes `spec` into a type of the caller's, with the leniency of
            /// resource files.
            pub fn decode_spec<T: serde::de::DeserializeOwned>(&self) -> Result<T, DecodeError> {
                decode(&Node::from_json(&self.spec), Dialect::Resource, $kind)
            }
        }
    };
}

raw_kind!(
    /// A Model Context Protocol server (runtime.md §3.6).
    McpServer,
    "MCPServer",
    |server| {
        let endpoint = &server.spec["endpoint"];
        let url = ["streamableHTTP", "sse"].iter().find_map(|transport| endpoint[transport]["url"].as_str());
        url.map_or_else(|| server.name.clone(), |url| format!("{} ({url})", server.name))
    }
);

raw_kind!(
    /// Who may call which workflows (runtime.md §3.6).
    WorkflowAccessPolicy,
    "WorkflowAccessPolicy",
    |policy| policy.name.clone()
);
