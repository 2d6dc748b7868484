//! The store and the objects it reads.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dapr_components::secrets::{Error, RequestMetadata, Secret, SecretStore};
use dapr_components::{InitContext, InitError};
use dapr_kubernetes::{Client, ClusterConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Request metadata that names the namespace.
const NAMESPACE: &str = "namespace";
/// What stands for itself in a path: names are made of it.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Reads secrets from the API server when it is asked for them.
pub struct KubernetesStore {
    client: Client,
    /// Of requests that name none: our own, or the configured one.
    namespace: Option<String>,
}

/// A Secret, as far as it is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    /// In base64.
    data: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    items: Option<Vec<Object>>,
}

impl KubernetesStore {
    /// Finds the cluster; nothing is asked of it yet.
    pub fn new(context: &InitContext, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, InitError> {
        let given = |name: &str| context.properties.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let kubeconfig = given("kubeconfigPath").map(PathBuf::from).or_else(|| default_kubeconfig(env));
        let config = ClusterConfig::load(env, kubeconfig.as_deref()).map_err(|e| InitError(e.to_string()))?;
        let client = Client::new(&config, context.tasks.clone()).map_err(|e| InitError(e.to_string()))?;
        let own = Some(context.identity.namespace_env()).filter(|n| !n.is_empty()).map(str::to_owned);
        Ok(Self { client, namespace: own.or_else(|| given("defaultNamespace")) })
    }

    /// Path of the secrets of the request's namespace.
    fn path(&self, metadata: &RequestMetadata) -> Result<String, Error> {
        let asked = metadata.get(NAMESPACE).filter(|namespace| !namespace.is_empty());
        let namespace = asked.or(self.namespace.as_ref()).ok_or_else(|| {
            Error(
                "namespace is missing on metadata and NAMESPACE env variable, and no default namespace is set"
                    .to_owned(),
            )
        })?;
        Ok(format!("/api/v1/namespaces/{}/secrets", segment(namespace)?))
    }
}

#[async_trait]
impl SecretStore for KubernetesStore {
    async fn get(&self, name: &str, metadata: &RequestMetadata) -> Result<Secret, Error> {
        let path = format!("{}/{}", self.path(metadata)?, segment(name)?);
        let object: Object = self.client.get(&path).await.map_err(|e| Error(e.to_string()))?;
        secret(name, object)
    }

    async fn bulk_get(&self, metadata: &RequestMetadata) -> Result<HashMap<String, Secret>, Error> {
        let list: List = self.client.get(&self.path(metadata)?).await.map_err(|e| Error(e.to_string()))?;
        let items = list.items.unwrap_or_default().into_iter();
        items
            .map(|object| {
                let name = object.metadata.name.clone();
                secret(&name, object).map(|secret| (name, secret))
            })
            .collect()
    }
}

fn secret(name: &str, object: Object) -> Result<Secret, Error> {
    let value = |(key, text): (String, String)| match STANDARD.decode(&text) {
        Ok(bytes) => Ok((key, String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(Error(format!("key {key} of secret {name} is not base64: {error}"))),
    };
    object.data.unwrap_or_default().into_iter().map(value).collect()
}

/// A name as one segment of a path: it must not lead elsewhere.
fn segment(name: &str) -> Result<String, Error> {
    if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '%']) {
        return Err(Error(format!("invalid resource name {name:?}: it cannot be a part of a path")));
    }
    Ok(utf8_percent_encode(name, SEGMENT).to_string())
}

/// The file of `KUBECONFIG`, else the one in the home directory.
fn default_kubeconfig(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name| env(name).filter(|value| !value.is_empty());
    set("KUBECONFIG").map(PathBuf::from).or_else(|| set("HOME").map(|h| Path::new(&h).join(".kube/config")))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
