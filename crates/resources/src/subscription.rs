use std::collections::BTreeMap;

use serde::Deserialize;

use crate::resource::{Manifest, Resource};
use crate::source::Source;

/// A declarative subscription; one in the old form is converted on reading
/// (runtime.md §3.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub name: String,
    pub namespace: String,
    /// Name of the pub/sub component.
    pub pubsub_name: String,
    pub topic: String,
    pub metadata: BTreeMap<String, String>,
    pub routes: Routes,
    pub dead_letter_topic: String,
    pub bulk_subscribe: BulkSubscribe,
    pub scopes: Vec<String>,
    pub source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// Tried in order.
    pub rules: Vec<Rule>,
    /// Path for events that match no rule; may be empty.
    pub default: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// CEL over `event`; empty matches everything.
    #[serde(rename = "match")]
    pub matches: String,
    pub path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BulkSubscribe {
    pub enabled: bool,
    pub max_messages_count: i32,
    pub max_await_duration_ms: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionSpec {
    pubsubname: String,
    topic: String,
    metadata: BTreeMap<String, String>,
    routes: Routes,
    dead_letter_topic: String,
    bulk_subscribe: BulkSubscribe,
}

impl Resource for Subscription {
    const KIND: &'static str = "Subscription";
    const API_VERSION: &'static str = "dapr.io/v2alpha1";
    type Spec = SubscriptionSpec;

    fn from_manifest(manifest: Manifest<SubscriptionSpec>, source: Source) -> Self {
        let Manifest { metadata, spec, scopes, .. } = manifest;
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            pubsub_name: spec.pubsubname,
            topic: spec.topic,
            metadata: spec.metadata,
            routes: spec.routes,
            dead_letter_topic: spec.dead_letter_topic,
            bulk_subscribe: spec.bulk_subscribe,
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

    fn comparable(&self) -> Self {
        Self { namespace: String::new(), source: Source::default(), ..self.clone() }
    }
}

/// The old form, with one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionV1(pub Subscription);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SubscriptionV1Spec {
    pubsubname: String,
    topic: String,
    metadata: BTreeMap<String, String>,
    route: String,
    dead_letter_topic: String,
    bulk_subscribe: BulkSubscribe,
}

impl Resource for SubscriptionV1 {
    const KIND: &'static str = "Subscription";
    const API_VERSION: &'static str = "dapr.io/v1alpha1";
    type Spec = SubscriptionV1Spec;

    fn from_manifest(manifest: Manifest<SubscriptionV1Spec>, source: Source) -> Self {
        let Manifest { metadata, spec, auth, scopes } = manifest;
        let routes = Routes { rules: Vec::new(), default: spec.route };
        let spec = SubscriptionSpec {
            pubsubname: spec.pubsubname,
            topic: spec.topic,
            metadata: spec.metadata,
            routes,
            dead_letter_topic: spec.dead_letter_topic,
            bulk_subscribe: spec.bulk_subscribe,
        };
        Self(Subscription::from_manifest(Manifest { metadata, spec, auth, scopes }, source))
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn namespace(&self) -> &str {
        self.0.namespace()
    }

    fn scopes(&self) -> &[String] {
        self.0.scopes()
    }

    fn source(&self) -> &Source {
        self.0.source()
    }

    fn comparable(&self) -> Self {
        Self(self.0.comparable())
    }
}
