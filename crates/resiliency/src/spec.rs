//! The `Resiliency` resource as it is written: names and texts, nothing
//! resolved (runtime.md §3.5).
//!
//! Decoding is as lenient as the original: field names in any case, unknown
//! fields ignored, numbers and booleans accepted for texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A resource whose shape is wrong: `path` says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resiliency field {path}: expected {expected}, found {found}")]
pub struct SpecError {
    path: String,
    expected: &'static str,
    found: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub name: String,
    pub namespace: String,
    /// App ids that the resource is for; empty means all.
    pub scopes: Vec<String>,
    pub policies: Policies,
    pub targets: Targets,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    pub timeouts: BTreeMap<String, String>,
    pub retries: BTreeMap<String, Retry>,
    pub circuit_breakers: BTreeMap<String, CircuitBreaker>,
}

/// Empty texts mean the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    pub policy: String,
    pub duration: String,
    pub max_interval: String,
    pub max_retries: Option<i64>,
    pub http_status_codes: String,
    pub grpc_status_codes: String,
}

/// Empty texts and zero mean the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    pub max_requests: i64,
    pub interval: String,
    pub timeout: String,
    pub trip: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub apps: BTreeMap<String, AppTarget>,
    pub actors: BTreeMap<String, ActorTarget>,
    pub components: BTreeMap<String, ComponentTarget>,
}

/// Names of policies; empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub timeout: String,
    pub retry: String,
    pub circuit_breaker: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppTarget {
    pub names: Names,
    pub circuit_breaker_cache_size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActorTarget {
    pub names: Names,
    pub circuit_breaker_scope: String,
    pub circuit_breaker_cache_size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentTarget {
    pub inbound: Names,
    pub outbound: Names,
}

impl Resource {
    /// Decodes one document.
    pub fn from_value(document: &Value) -> Result<Self, SpecError> {
        let root = Node { value: document, path: String::new() };
        let (metadata, spec) = (root.field("metadata"), root.field("spec"));
        let (policies, targets) = (spec.field("policies"), spec.field("targets"));
        Ok(Self {
            name: metadata.field("name").text()?,
            namespace: metadata.field("namespace").text()?,
            scopes: root.field("scopes").texts()?,
            policies: Policies {
                timeouts: policies.field("timeouts").named(|node| node.text())?,
                retries: policies.field("retries").named(retry)?,
                circuit_breakers: policies.field("circuitBreakers").named(circuit_breaker)?,
            },
            targets: Targets {
                apps: targets.field("apps").named(app)?,
                actors: targets.field("actors").named(actor)?,
                components: targets.field("components").named(component)?,
            },
        })
    }

    /// Whether the resource is for the application `app_id`.
    pub fn applies_to(&self, app_id: &str) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|s| s == app_id)
    }
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Value::deserialize(deserializer)?;
        Self::from_value(&document).map_err(serde::de::Error::custom)
    }
}

fn retry(node: &Node<'_>) -> Result<Retry, SpecError> {
    let matching = node.field("matching");
    let max_retries = node.field("maxRetries");
    Ok(Retry {
        policy: node.field("policy").text()?,
        duration: node.field("duration").text()?,
        max_interval: node.field("maxInterval").text()?,
        max_retries: if max_retries.value.is_null() { None } else { Some(max_retries.integer()?) },
        http_status_codes: matching.field("httpStatusCodes").text()?,
        grpc_status_codes: matching.field("gRPCStatusCodes").text()?,
    })
}

fn circuit_breaker(node: &Node<'_>) -> Result<CircuitBreaker, SpecError> {
    Ok(CircuitBreaker {
        max_requests: node.field("maxRequests").integer()?,
        interval: node.field("interval").text()?,
        timeout: node.field("timeout").text()?,
        trip: node.field("trip").text()?,
    })
}

fn names(node: &Node<'_>) -> Result<Names, SpecError> {
    Ok(Names {
        timeout: node.field("timeout").text()?,
        retry: node.field("retry").text()?,
        circuit_breaker: node.field("circuitBreaker").text()?,
    })
}

fn app(node: &Node<'_>) -> Result<AppTarget, SpecError> {
    Ok(AppTarget {
        names: names(node)?,
        circuit_breaker_cache_size: node.field("circuitBreakerCacheSize").integer()?,
    })
}

fn actor(node: &Node<'_>) -> Result<ActorTarget, SpecError> {
    Ok(ActorTarget {
        names: names(node)?,
        circuit_breaker_scope: node.field("circuitBreakerScope").text()?,
        circuit_breaker_cache_size: node.field("circuitBreakerCacheSize").integer()?,
    })
}

fn component(node: &Node<'_>) -> Result<ComponentTarget, SpecError> {
    Ok(ComponentTarget { inbound: names(&node.field("inbound"))?, outbound: names(&node.field("outbound"))? })
}

/// A value and where it stands. Absent and null are the same.
struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// The field called `name` in any case; the exact spelling wins. What is
    /// not an object has no fields: the text and number readers report it.
    fn field(&self, name: &str) -> Node<'a> {
        let value = self.value.as_object().and_then(|map| lookup(map, name)).unwrap_or(&Value::Null);
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Node { value, path }
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, SpecError> {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Err(SpecError { path: self.path.clone(), expected, found })
    }

    fn text(&self) -> Result<String, SpecError> {
        match self.value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::Array(_) | Value::Object(_) => self.fail("a text"),
        }
    }

    fn integer(&self) -> Result<i64, SpecError> {
        match self.value {
            Value::Null => Ok(0),
            Value::Number(number) => number.as_i64().map_or_else(|| self.fail("an integer"), Ok),
            Value::String(text) => text.parse().or_else(|_| self.fail("an integer")),
            _ => self.fail("an integer"),
        }
    }

    fn texts(&self) -> Result<Vec<String>, SpecError> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                items.iter().map(|value| Node { value, path: self.path.clone() }.text()).collect()
            }
            _ => self.fail("a list"),
        }
    }

    /// A map whose keys are the user's names.
    fn named<T>(
        &self,
        read: impl Fn(&Node<'_>) -> Result<T, SpecError>,
    ) -> Result<BTreeMap<String, T>, SpecError> {
        match self.value {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| {
                    let node = Node { value, path: format!("{}.{name}", self.path) };
                    Ok((name.clone(), read(&node)?))
                })
                .collect(),
            _ => self.fail("an object"),
        }
    }
}

fn lookup<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decodes_every_field() {
        let r: Resource = serde_json::from_value(json!({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency",
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
        assert_eq!((retry.http_status_codes.as_str(), retry.grpc_status_codes.as_str()), ("500", "1-3"));
        assert_eq!(r.policies.circuit_breakers["c"].trip, "requests > 1");
        assert_eq!(r.targets.apps["app"].circuit_breaker_cache_size, 7);
        assert_eq!(r.targets.actors["type"].circuit_breaker_scope, "both");
        assert_eq!(r.targets.components["store"].outbound.timeout, "t");
        assert!(r.applies_to("a") && !r.applies_to("c"));
    }

    #[test]
    fn field_names_match_in_any_case_but_policy_names_do_not() {
        let r = Resource::from_value(&json!({
            "Metadata": {"NAME": "x"},
            "spec": {"Policies": {"TIMEOUTS": {"General": "1s"}}, "unknown": 1}
        }))
        .unwrap();
        assert_eq!(r.name, "x");
        assert!(r.policies.timeouts.contains_key("General") && r.applies_to("anything"));
    }

    #[test]
    fn a_wrong_shape_says_where() {
        let error =
            Resource::from_value(&json!({"spec": {"policies": {"retries": {"r": {"maxRetries": "many"}}}}}))
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "resiliency field spec.policies.retries.r.maxRetries: expected an integer, found a text"
        );
    }
}
