use std::collections::BTreeSet;

use async_trait::async_trait;
use dapr_components::nameresolution::{Error, NameResolver, ResolveRequest};
use serde_json::Value;

use crate::template::Template;

const CLUSTER_DOMAIN: &str = "cluster.local";

/// Asks the cluster's DNS for the service of an application's sidecars.
pub struct KubernetesDns {
    template: Template,
}

impl KubernetesDns {
    /// `configuration` may have `clusterDomain`, or a `template` for the whole
    /// address.
    pub fn new(configuration: &Value) -> Result<Self, String> {
        let text = |name: &str| configuration.get(name)?.as_str().filter(|text| !text.is_empty());
        let template = match text("template") {
            Some(template) => {
                tracing::debug!(target: "dapr.contrib", "using custom template {template}");
                Template::parse(template)?
            }
            None => {
                let domain = text("clusterDomain").unwrap_or(CLUSTER_DOMAIN);
                Template::parse(&format!("{{{{.ID}}}}-dapr.{{{{.Namespace}}}}.svc.{domain}:{{{{.Port}}}}"))?
            }
        };
        Ok(Self { template })
    }

    /// The name and port to ask for.
    fn address(&self, request: &ResolveRequest<'_>) -> (String, u16) {
        let address = self.template.render(request);
        match address.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host.to_owned(), port),
            _ => (address, request.port),
        }
    }
}

#[async_trait]
impl NameResolver for KubernetesDns {
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error> {
        let (host, port) = self.address(request);
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found = found.map_err(|e| Error(format!("failed to resolve address for '{host}': {e}")))?;
        let found: BTreeSet<_> = found.collect();
        Ok(found.into_iter().map(|address| address.to_string()).collect())
    }

    fn is_multi_address(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REQUEST: ResolveRequest<'_> = ResolveRequest { app_id: "orders", namespace: "shop", port: 50002 };

    fn address(configuration: Value) -> (String, u16) {
        KubernetesDns::new(&configuration).unwrap().address(&REQUEST)
    }

    #[test]
    fn names_of_services() {
        let name = |domain: &str| (format!("orders-dapr.shop.svc.{domain}"), 50002);
        assert_eq!(address(Value::Null), name("cluster.local"));
        assert_eq!(address(json!({"clusterDomain": "example.com"})), name("example.com"));
        assert_eq!(address(json!({"clusterDomain": ""})), name("cluster.local"));
        assert_eq!(address(json!({"template": "{{.ID}}.{{.Namespace}}:9"})), ("orders.shop".to_owned(), 9));
        assert_eq!(address(json!({"template": "{{.ID}}"})), ("orders".to_owned(), 50002));
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_a_candidate() {
        let resolver = KubernetesDns::new(&json!({"template": "localhost:{{.Port}}"})).unwrap();
        let found = resolver.resolve(&REQUEST).await.unwrap();
        assert!(found.contains(&"127.0.0.1:50002".to_owned()), "{found:?}");
        assert!(resolver.is_multi_address());
        let missing = KubernetesDns::new(&json!({"template": "nowhere.invalid:1"})).unwrap();
        let error = missing.resolve(&REQUEST).await.unwrap_err().to_string();
        assert!(error.starts_with("failed to resolve address for 'nowhere.invalid': "), "{error}");
    }
}
