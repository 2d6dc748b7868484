//! Resources from the operator of a cluster (runtime.md §3.2, control-plane.md
//! §8.2).

use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use dapr_operator_client::{Bell, Entry, Feed, FeedOptions, Kind, OperatorClient, Options, Undecodable};
use dapr_resources::configuration::Configuration;
use dapr_resources::loader::{LoadContext, Loaded};
use dapr_resources::{
    Component, ConfigurationDocument, HttpEndpoint, McpServer, Resiliency, Resource, Subscription,
    WorkflowAccessPolicy,
};
use dapr_security::Security;
use serde_json::Value;
use tokio::sync::watch;

use super::Now;
use super::built::Built;
use crate::options::Cluster;

const SCOPE: &str = "dapr.runtime.loader.kubernetes";

/// A kind that the operator lists.
pub trait Served: Resource + Send + 'static {
    const LISTED_AS: Kind;
    /// As messages call one.
    const NOUN: &'static str;
}

macro_rules! served {
    ($($type:ident = $kind:ident, $noun:literal;)*) => {$(
        impl Served for $type {
            const LISTED_AS: Kind = Kind::$kind;
            const NOUN: &'static str = $noun;
        }
    )*};
}

served! {
    Component = Components, "component";
    Subscription = Subscriptions, "subscription";
    HttpEndpoint = HttpEndpoints, "http endpoint";
    Resiliency = Resiliencies, "resiliency";
    McpServer = McpServers, "MCP server";
    WorkflowAccessPolicy = WorkflowAccessPolicies, "workflow access policy";
}

/// The operator, and what it has told.
pub struct Operator {
    client: OperatorClient,
    cluster: Cluster,
    context: LoadContext,
    built: Built,
}

impl Operator {
    pub async fn connect(
        cluster: Cluster,
        namespace: String,
        context: LoadContext,
        security: Security,
        tasks: TaskGroup,
    ) -> Result<Self, String> {
        tracing::info!(target: SCOPE, "Initializing the operator client");
        let address = cluster.operator_address.clone();
        let client = OperatorClient::connect(Options { address, namespace, security, tasks });
        let client = client.await.map_err(|e| e.to_string())?;
        Ok(Self { client, cluster, context, built: Built::default() })
    }

    /// The Configuration that the flag names; the defaults without one.
    pub async fn configuration(&mut self) -> Result<Configuration, String> {
        let Some(name) = &self.cluster.configuration else {
            self.built.configurations = Some(Vec::new());
            return Ok(Configuration::default());
        };
        let failed = |reason: String| format!("error loading configuration: {reason}");
        let kind = Kind::Configuration(Some(name.clone()));
        let found = self.client.list(&kind).await.map_err(|e| failed(e.to_string()))?;
        let bytes = found.first().ok_or_else(|| failed(format!("configuration {name} not found")))?;
        let json: Value = serde_json::from_slice(bytes).map_err(|e| failed(e.to_string()))?;
        let document = ConfigurationDocument::from_json(&json).map_err(|e| failed(e.to_string()))?;
        self.built.configurations = Some(vec![document]);
        Configuration::from_json(&json).map_err(|e| failed(e.to_string()))
    }

    pub async fn resiliencies(&mut self) -> Loaded<Resiliency> {
        let mut resources = Vec::new();
        match self.client.list(&Resiliency::LISTED_AS).await {
            Ok(found) => {
                for bytes in found {
                    match decode::<Resiliency>(&bytes) {
                        Ok(entry) => resources.push(entry.value),
                        Err(problem) => {
                            tracing::error!(target: SCOPE, "Could not parse resiliency: {}", problem.reason);
                        }
                    }
                }
            }
            Err(error) => tracing::error!(target: SCOPE, "Error listing resiliency policies: {error}"),
        }
        resources.retain(|r| self.context.admits(r));
        self.built.resiliencies = Some(resources.clone());
        Loaded { resources, warnings: Vec::new() }
    }

    pub async fn http_endpoints(&mut self) -> Result<Loaded<HttpEndpoint>, String> {
        let loaded = self.load::<HttpEndpoint>().await?;
        self.built.endpoints = Some(loaded.resources.clone());
        Ok(loaded)
    }

    pub async fn load<T: Served>(&self) -> Result<Loaded<T>, String> {
        let mut loaded = self.all::<T>().await?;
        loaded.resources.retain(|resource| self.context.admits(resource));
        Ok(loaded)
    }

    pub async fn subscriptions(&self) -> Result<Loaded<Subscription>, String> {
        self.all().await
    }

    async fn all<T: Served>(&self) -> Result<Loaded<T>, String> {
        let found = self.client.list(&T::LISTED_AS).await.map_err(|e| e.to_string())?;
        let decoded = found.iter().map(|bytes| {
            decode::<T>(bytes).map(|entry| entry.value).map_err(|problem| {
                let name = problem.name.map(|name| format!(" {name}")).unwrap_or_default();
                format!("error deserializing {}{name}: {}", T::NOUN, problem.reason)
            })
        });
        Ok(Loaded { resources: decoded.collect::<Result<_, _>>()?, warnings: Vec::new() })
    }

    pub fn builtin_component(&self) -> Option<Component> {
        self.cluster.builtin_secret_store.then(Component::builtin_secret_store)
    }

    pub fn watch(&self, interval: Duration) -> Feeds {
        let bell = Bell::default();
        let configuration = Kind::Configuration(self.cluster.configuration.clone());
        Feeds {
            components: self.feed(Component::LISTED_AS, interval, &bell),
            subscriptions: self.feed(Subscription::LISTED_AS, interval, &bell),
            endpoints: self.feed(HttpEndpoint::LISTED_AS, interval, &bell),
            resiliencies: self.feed(Resiliency::LISTED_AS, interval, &bell),
            configurations: self.feed(configuration, interval, &bell),
            news: bell.listen(),
            context: self.context.clone(),
        }
    }

    fn feed<T: Resource + Send + 'static>(&self, kind: Kind, interval: Duration, bell: &Bell) -> Feed<T> {
        Feed::start(&self.client, FeedOptions { kind, decode: decode::<T>, interval, bell: bell.clone() })
    }

    pub fn built(&self) -> Built {
        self.built.clone()
    }
}

/// The kinds that change while the sidecar runs.
#[derive(Clone)]
pub struct Feeds {
    components: Feed<Component>,
    subscriptions: Feed<Subscription>,
    endpoints: Feed<HttpEndpoint>,
    resiliencies: Feed<Resiliency>,
    configurations: Feed<ConfigurationDocument>,
    news: watch::Receiver<u64>,
    context: LoadContext,
}

impl Feeds {
    pub async fn opened(&self) {
        tokio::join!(
            self.components.opened(),
            self.subscriptions.opened(),
            self.endpoints.opened(),
            self.resiliencies.opened(),
            self.configurations.opened(),
        );
    }

    pub async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            // The feeds have ended with the sidecar's other tasks.
            std::future::pending::<()>().await;
        }
    }

    pub fn read(&self, built: &Built) -> Now {
        let now = Built {
            configurations: self.configurations.current(),
            endpoints: self.admitted(&self.endpoints),
            resiliencies: self.admitted(&self.resiliencies),
        };
        let loaded = |resources| Loaded { resources, warnings: Vec::new() };
        Now {
            components: self.admitted(&self.components).map(loaded),
            subscriptions: self
                .subscriptions
                .current()
                .map(|resources| Loaded { resources, warnings: Vec::new() }),
            restart: built.differs(&now),
        }
    }

    fn admitted<T: Resource + Send + 'static>(&self, feed: &Feed<T>) -> Option<Vec<T>> {
        let mut resources = feed.current()?;
        resources.retain(|resource| self.context.admits(resource));
        Some(resources)
    }
}

/// Objects come as the API server has them.
fn decode<T: Resource>(bytes: &[u8]) -> Result<Entry<T>, Undecodable> {
    let json: Value =
        serde_json::from_slice(bytes).map_err(|e| Undecodable { name: None, reason: e.to_string() })?;
    let metadata = &json["metadata"];
    let name = metadata["name"].as_str().map(str::to_owned);
    let version = metadata["resourceVersion"].as_str().and_then(|version| version.parse().ok());
    match T::from_json(&json) {
        Ok(value) => Ok(Entry { name: value.name().to_owned(), version, value }),
        Err(error) => Err(Undecodable { name, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_as_the_api_server_has_them() {
        let json =
            br#"{"metadata":{"name":"a","namespace":"n","resourceVersion":"42","creationTimestamp":null},
            "spec":{"type":"state.in-memory","version":"v1","ignoreErrors":false,"initTimeout":"",
            "metadata":[{"name":"x","value":"1","secretKeyRef":{"name":"","key":""}}]},
            "auth":{"secretStore":""}}"#;
        let entry = decode::<Component>(json).unwrap();
        assert_eq!((entry.name.as_str(), entry.version), ("a", Some(42)));
        assert_eq!(entry.value.log_name(), "a (state.in-memory/v1)");
        assert!(entry.value.secret_refs().is_empty());
        assert_eq!(decode::<Component>(br#"{"metadata":{"name":"a"}}"#).unwrap().version, None);
    }

    #[test]
    fn what_cannot_be_read_is_named_if_possible() {
        let wrong =
            decode::<Component>(br#"{"metadata":{"name":"a"},"spec":{"metadata":"none"}}"#).unwrap_err();
        assert_eq!(wrong.name.as_deref(), Some("a"));
        assert_eq!(decode::<Component>(b"{").unwrap_err().name, None);
    }
}
