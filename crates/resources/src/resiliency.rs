use std::collections::BTreeMap;

use serde::Deserialize;

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

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResiliencySpec {
    pub policies: Policies,
    pub targets: Targets,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policies {
    /// Name -> duration; a bare integer means milliseconds.
    pub timeouts: BTreeMap<String, String>,
    pub retries: BTreeMap<String, Retry>,
    pub circuit_breakers: BTreeMap<String, CircuitBreaker>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RetryMatching {
    #[serde(rename = "httpStatusCodes")]
    pub http_status_codes: String,
    #[serde(rename = "gRPCStatusCodes")]
    pub grpc_status_codes: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Zero when absent.
    pub max_requests: i64,
    pub interval: String,
    pub timeout: String,
    /// CEL expression; empty is the default.
    pub trip: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Targets {
    /// By app id.
    pub apps: BTreeMap<String, AppPolicyNames>,
    /// By actor type.
    pub actors: BTreeMap<String, ActorPolicyNames>,
    /// By component name.
    pub components: BTreeMap<String, ComponentPolicyNames>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AppPolicyNames {
    pub timeout: String,
    pub retry: String,
    pub circuit_breaker: String,
    /// Zero when absent.
    pub circuit_breaker_cache_size: i64,
}

impl AppPolicyNames {
    pub fn names(&self) -> PolicyNames {
        PolicyNames {
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            circuit_breaker: self.circuit_breaker.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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

impl ActorPolicyNames {
    pub fn names(&self) -> PolicyNames {
        PolicyNames {
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            circuit_breaker: self.circuit_breaker.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ComponentPolicyNames {
    pub inbound: PolicyNames,
    pub outbound: PolicyNames,
}

/// Names of policies; empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decodes_every_field() {
        let r = Resiliency::from_json(&json!({
            "metadata": {"name": "res", "namespace": "ns"},
            "scopes": ["a", "b"],
            "spec": {
                "policies": {
                    "timeouts": {"t": "5s", "millis": 250},
                    "retries": {"r": {"policy": "exponential", "duration": "1s", "maxInterval": "10s",
                        "maxRetries": 0, "matching": {"httpStatusCodes": 500, "gRPCStatusCodes": "1-3"}}},
                    "circuitBreakers": {"c": {"maxRequests": 2, "interval": "8s", "timeout": "45s", "trip": "requests > 1"}}
                },
                "targets": {
                    "apps": {"app": {"timeout": "t", "retry": "r", "circuitBreaker": "c", "circuitBreakerCacheSize": 7}},
                    "actors": {"type": {"retry": "r", "circuitBreakerScope": "both"}},
                    "components": {"store": {"inbound": {"retry": "r"}, "outbound": {"timeout": "t"}}}
                }
            }
        }))
        .unwrap();
        assert_eq!((r.name.as_str(), r.namespace.as_str()), ("res", "ns"));
        assert_eq!(r.policies.timeouts["millis"], "250");
        let retry = &r.policies.retries["r"];
        assert_eq!(retry.max_retries, Some(0));
        let codes = retry.matching.as_ref().unwrap();
        assert_eq!((codes.http_status_codes.as_str(), codes.grpc_status_codes.as_str()), ("500", "1-3"));
        assert_eq!(r.policies.circuit_breakers["c"].trip, "requests > 1");
        assert_eq!(r.targets.apps["app"].names().circuit_breaker, "c");
        assert_eq!(r.targets.apps["app"].circuit_breaker_cache_size, 7);
        assert_eq!(r.targets.actors["type"].circuit_breaker_scope, "both");
        assert_eq!(r.targets.components["store"].outbound.timeout, "t");
        assert!(r.is_scoped_to("a") && !r.is_scoped_to("c"));
    }

    #[test]
    fn field_names_match_in_any_case_but_policy_names_do_not() {
        let r = Resiliency::from_json(&json!({
            "Metadata": {"NAME": "x"},
            "spec": {"Policies": {"TIMEOUTS": {"General": "1s"}}, "unknown": 1}
        }))
        .unwrap();
        assert_eq!(r.name, "x");
        assert!(r.policies.timeouts.contains_key("General") && r.is_scoped_to("anything"));
    }
}
