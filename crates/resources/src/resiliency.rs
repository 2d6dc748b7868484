use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resource::{Manifest, Resource};
use crate::source::Source;

/// Resiliency policies and their targets, as written (runtime.md §3.5). Reading
/// durations, codes and expressions is up to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resiliency {
    pub name: String,
    pub namespace: String,
    pub policies: Policies,
    pub targets: Targets,
    pub scopes: Vec<String>,
    pub source: Source,
}

impl Resiliency {
    /// The resource as a document again, for the engine that reads it.
    pub fn document(&self) -> serde_json::Value {
        serde_json::json!({
            "metadata": {"name": self.name, "namespace": self.namespace},
            "scopes": self.scopes,
            "spec": {"policies": self.policies, "targets": self.targets},
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResiliencySpec {
    pub policies: Policies,
    pub targets: Targets,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policies {
    /// Name -> duration; a bare integer means milliseconds.
    pub timeouts: BTreeMap<String, String>,
    pub retries: BTreeMap<String, Retry>,
    pub circuit_breakers: BTreeMap<String, CircuitBreaker>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Retry {
    /// `constant`, `exponential`, or empty for constant.
    pub policy: String,
    pub duration: String,
    pub max_interval: String,
    /// Negative means without end.
    pub max_retries: Option<i64>,
    pub matching: Option<RetryMatching>,
}

/// Comma lists of codes and ranges; empty matches every failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetryMatching {
    #[serde(rename = "httpStatusCodes")]
    pub http_status_codes: String,
    #[serde(rename = "gRPCStatusCodes")]
    pub grpc_status_codes: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Zero when absent.
    pub max_requests: i64,
    pub interval: String,
    pub timeout: String,
    /// CEL expression; empty is the default.
    pub trip: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Targets {
    /// By app id.
    pub apps: BTreeMap<String, AppPolicyNames>,
    /// By actor type.
    pub actors: BTreeMap<String, ActorPolicyNames>,
    /// By component name.
    pub components: BTreeMap<String, ComponentPolicyNames>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AppPolicyNames {
    pub timeout: String,
    pub retry: String,
    pub circuit_breaker: String,
    /// Zero when absent.
    pub circuit_breaker_cache_size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActorPolicyNames {
    pub timeout: String,
    pub retry: String,
    pub circuit_breaker: String,
    /// `type`, `id` or `both`.
    pub circuit_breaker_scope: String,
    /// Zero when absent.
    pub circuit_breaker_cache_size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ComponentPolicyNames {
    pub inbound: PolicyNames,
    pub outbound: PolicyNames,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyNames {
    pub timeout: String,
    pub retry: String,
    pub circuit_breaker: String,
}

impl Resource for Resiliency {
    const KIND: &'static str = "Resiliency";
    const API_VERSION: &'static str = "dapr.io/v1alpha1";
    type Spec = ResiliencySpec;

    fn from_manifest(manifest: Manifest<ResiliencySpec>, source: Source) -> Self {
        let Manifest { metadata, spec, scopes, .. } = manifest;
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            policies: spec.policies,
            targets: spec.targets,
            scopes,
            source,
        }
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

    /// Unlike other kinds, a changed namespace is a change.
    fn comparable(&self) -> Self {
        Self { source: Source::default(), ..self.clone() }
    }
}
