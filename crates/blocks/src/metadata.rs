//! What the sidecar tells about itself (runtime.md §11).

use std::collections::BTreeMap;
use std::sync::Arc;

use dapr_app_channel::Protocol;
use dapr_kernel::AppIdentity;
use dapr_resiliency::{Direction, Explanation, Kind, Policies, Target};
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use crate::pubsub::PubSubService;

/// A loaded component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    pub name: String,
    pub component_type: String,
    pub version: String,
    /// In the order the metadata API lists them; may be empty.
    pub capabilities: Vec<String>,
}

/// A component that was asked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableComponent {
    pub name: String,
    pub component_type: String,
    pub version: String,
    pub absence: Absence,
    /// Of the last attempt to start it.
    pub error: String,
    pub attempts: u32,
}

/// Why a component is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its start failed and the failure is ignored.
    Failed,
    /// Its start failed and is tried again.
    Retrying,
}

impl Absence {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::Retrying => "RETRYING",
        }
    }
}

/// An active subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionInfo {
    pub pubsub_name: String,
    pub topic: String,
    pub metadata: BTreeMap<String, String>,
    /// (match, path).
    pub rules: Vec<(String, String)>,
    pub dead_letter_topic: String,
    pub kind: SubscriptionKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionKind {
    Declarative,
    Programmatic,
    Streaming,
}

impl SubscriptionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declarative => "DECLARATIVE",
            Self::Programmatic => "PROGRAMMATIC",
            Self::Streaming => "STREAMING",
        }
    }
}

/// How the application is reached; durations in Go's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConnection {
    pub port: u16,
    pub protocol: Protocol,
    pub channel_address: String,
    pub max_concurrency: i32,
    pub health: Option<AppHealthProperties>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppHealthProperties {
    /// Empty for gRPC applications.
    pub path: String,
    pub interval: String,
    pub timeout: String,
    pub threshold: u32,
}

#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub runtime_version: String,
    pub enabled_features: Vec<String>,
    pub app_connection: AppConnection,
    pub resiliencies: Vec<String>,
    /// For whoever asks what applies to a target.
    pub policies: Policies,
}

/// Collects what other services register. Cloning shares it.
#[derive(Clone)]
pub struct MetadataService(Arc<Inner>);

struct Inner {
    options: Options,
    extended: RwLock<BTreeMap<String, String>>,
    components: RwLock<Vec<ComponentInfo>>,
    unavailable: RwLock<Vec<UnavailableComponent>>,
    http_endpoints: RwLock<Vec<String>>,
}

/// Everything the metadata API shows, at one moment.
#[derive(Clone)]
pub struct Document {
    pub options: Options,
    pub extended: BTreeMap<String, String>,
    pub components: Vec<ComponentInfo>,
    /// An addition to Dapr's document.
    pub unavailable: Vec<UnavailableComponent>,
    pub subscriptions: Vec<SubscriptionInfo>,
    pub http_endpoints: Vec<String>,
}

impl MetadataService {
    pub fn new(options: Options) -> Self {
        let extended = BTreeMap::from([("daprRuntimeVersion".to_owned(), options.runtime_version.clone())]);
        Self(Arc::new(Inner {
            options,
            extended: RwLock::new(extended),
            components: RwLock::default(),
            unavailable: RwLock::default(),
            http_endpoints: RwLock::default(),
        }))
    }

    /// Sets an extended entry; an empty key is ignored.
    pub fn set(&self, key: &str, value: String) {
        if !key.is_empty() {
            self.0.extended.write().insert(key.to_owned(), value);
        }
    }

    pub fn add_component(&self, component: ComponentInfo) {
        let mut components = self.0.components.write();
        components.retain(|c| c.name != component.name);
        components.push(component);
    }

    pub fn remove_component(&self, name: &str) {
        self.0.components.write().retain(|c| c.name != name);
    }

    pub fn components(&self) -> Vec<ComponentInfo> {
        self.0.components.read().clone()
    }

    /// Notes a component that could not be started.
    pub fn unavailable(&self, component: UnavailableComponent) {
        let mut all = self.0.unavailable.write();
        all.retain(|c| c.name != component.name);
        all.push(component);
    }

    /// Notes another failed attempt.
    pub fn retried(&self, name: &str, error: String, attempts: u32) {
        if let Some(component) = self.0.unavailable.write().iter_mut().find(|c| c.name == name) {
            component.error = error;
            component.attempts = attempts;
        }
    }

    /// Forgets that a component was missing.
    pub fn available(&self, name: &str) {
        self.0.unavailable.write().retain(|c| c.name != name);
    }

    pub fn unavailable_components(&self) -> Vec<UnavailableComponent> {
        self.0.unavailable.read().clone()
    }

    pub fn set_http_endpoints(&self, names: Vec<String>) {
        *self.0.http_endpoints.write() = names;
    }

    /// The effective resiliency policy of each target and where it comes from:
    /// an addition to Dapr. Of a component, both directions that it has; one
    /// that is not loaded is left out.
    pub fn explain(&self, apps: &[String], actor_types: &[String], components: &[String]) -> Value {
        let loaded = self.0.components.read();
        let of_components = components
            .iter()
            .filter_map(|name| loaded.iter().find(|c| c.name == *name))
            .flat_map(component_targets);
        let apps = apps.iter().cloned().map(Target::App);
        let actors = actor_types.iter().cloned().map(Target::ActorType);
        let targets = apps.chain(actors).chain(of_components);
        let explained: Vec<Value> =
            targets.map(|target| explanation_json(&self.0.options.policies.explain(target))).collect();
        json!({ "targets": explained })
    }

    pub fn document(&self, pubsub: &PubSubService) -> Document {
        let mut extended = self.0.extended.read().clone();
        // Always the true version, whatever was set.
        extended.insert("daprRuntimeVersion".to_owned(), self.0.options.runtime_version.clone());
        Document {
            options: self.0.options.clone(),
            extended,
            components: self.0.components.read().clone(),
            unavailable: self.unavailable_components(),
            subscriptions: pubsub.subscriptions(),
            http_endpoints: self.0.http_endpoints.read().clone(),
        }
    }
}

impl Document {
    /// The HTTP form: empty fields left out, `rules` flat.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("id".into(), json!(self.options.identity.app_id()));
        out.insert("runtimeVersion".into(), json!(self.options.runtime_version));
        list(&mut out, "enabledFeatures", self.options.enabled_features.iter().map(|f| json!(f)));
        list(&mut out, "components", self.components.iter().map(component_json));
        list(&mut out, "unavailableComponents", self.unavailable.iter().map(unavailable_json));
        out.insert("extended".into(), json!(self.extended));
        list(&mut out, "subscriptions", self.subscriptions.iter().map(subscription_json));
        list(&mut out, "httpEndpoints", self.http_endpoints.iter().map(|n| json!({"name": n})));
        list(&mut out, "resiliencies", self.options.resiliencies.iter().map(|n| json!({"name": n})));
        out.insert("appConnectionProperties".into(), connection_json(&self.options.app_connection));
        out.insert(
            "actorRuntime".into(),
            json!({"runtimeStatus": "DISABLED", "hostReady": false, "placement": "placement: disconnected"}),
        );
        Value::Object(out)
    }
}

fn list(out: &mut Map<String, Value>, name: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<_> = items.collect();
    if !items.is_empty() {
        out.insert(name.to_owned(), Value::Array(items));
    }
}

fn component_json(c: &ComponentInfo) -> Value {
    let mut out = json!({"name": c.name, "type": c.component_type});
    if !c.version.is_empty() {
        out["version"] = json!(c.version);
    }
    if !c.capabilities.is_empty() {
        out["capabilities"] = json!(c.capabilities);
    }
    out
}

fn component_targets(component: &ComponentInfo) -> Vec<Target> {
    let category = component.component_type.to_lowercase();
    let (kind, directions): (_, &[Direction]) = match category.split('.').next().unwrap_or_default() {
        "bindings" => (Kind::Binding, &[Direction::Outbound, Direction::Inbound]),
        "pubsub" => (Kind::Pubsub, &[Direction::Outbound, Direction::Inbound]),
        "state" => (Kind::Statestore, &[Direction::Outbound]),
        "secretstores" => (Kind::Secretstore, &[Direction::Outbound]),
        "configuration" => (Kind::Configuration, &[Direction::Outbound]),
        "lock" => (Kind::Lock, &[Direction::Outbound]),
        "crypto" => (Kind::Crypto, &[Direction::Outbound]),
        "conversation" => (Kind::Conversation, &[Direction::Outbound]),
        // Middleware has no policies.
        _ => return Vec::new(),
    };
    let target = |direction| Target::Component { name: component.name.clone(), kind, direction };
    directions.iter().copied().map(target).collect()
}

fn explanation_json(explanation: &Explanation) -> Value {
    let policies: Vec<Value> = explanation
        .choices
        .iter()
        .map(|choice| {
            json!({
                "kind": choice.kind.as_str(), "origin": choice.origin.as_str(),
                "policy": choice.policy, "effect": choice.effect,
            })
        })
        .collect();
    json!({
        "target": explanation.target.to_string(), "policies": policies, "text": explanation.to_string(),
    })
}

fn unavailable_json(c: &UnavailableComponent) -> Value {
    json!({
        "name": c.name, "type": c.component_type, "version": c.version,
        "state": c.absence.as_str(), "error": c.error, "attempts": c.attempts,
    })
}

fn subscription_json(s: &SubscriptionInfo) -> Value {
    let mut out = json!({
        "pubsubname": s.pubsub_name, "topic": s.topic,
        "deadLetterTopic": s.dead_letter_topic, "type": s.kind.as_str(),
    });
    if !s.metadata.is_empty() {
        out["metadata"] = json!(s.metadata);
    }
    let rules: Vec<Value> = s
        .rules
        .iter()
        .map(|(matching, path)| {
            let mut rule = Map::new();
            if !matching.is_empty() {
                rule.insert("match".into(), json!(matching));
            }
            if !path.is_empty() {
                rule.insert("path".into(), json!(path));
            }
            Value::Object(rule)
        })
        .collect();
    if !rules.is_empty() {
        out["rules"] = Value::Array(rules);
    }
    out
}

fn connection_json(c: &AppConnection) -> Value {
    let mut out = json!({"protocol": c.protocol.as_str(), "channelAddress": c.channel_address});
    if c.port != 0 {
        out["port"] = json!(c.port);
    }
    if c.max_concurrency > 0 {
        out["maxConcurrency"] = json!(c.max_concurrency);
    }
    if let Some(health) = &c.health {
        let mut h = json!({
            "healthProbeInterval": health.interval,
            "healthProbeTimeout": health.timeout,
            "healthThreshold": health.threshold,
        });
        if !health.path.is_empty() {
            h["healthCheckPath"] = json!(health.path);
        }
        out["health"] = h;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_without_version_and_capabilities_has_neither() {
        let mut component = ComponentInfo {
            name: "s".to_owned(),
            component_type: "state.x".to_owned(),
            version: String::new(),
            capabilities: Vec::new(),
        };
        assert_eq!(component_json(&component), json!({"name": "s", "type": "state.x"}));
        component.version = "v1".to_owned();
        component.capabilities = vec!["ETAG".to_owned()];
        let all = json!({"name": "s", "type": "state.x", "version": "v1", "capabilities": ["ETAG"]});
        assert_eq!(component_json(&component), all);
    }
}
