//! The authority's certificates in a cluster (cli.md §9, control-plane.md
//! §3.3).

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dapr_gocompat::duration::parse_duration;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_kubernetes::{ApiError, Client, ClusterConfig};
use serde_json::{Map, Value};

use super::material::{ISSUER, KEY, Material, ROOT};
use crate::context::Context;

const SYSTEM_CONFIGURATION: &str = "daprsystem";
const TRUST_BUNDLE: &str = "dapr-trust-bundle";
/// Of the authority, unless its Configuration says otherwise.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

pub(super) struct Cluster {
    pub client: Client,
}

/// What the Configuration of the control plane says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct System {
    /// Where the control plane is.
    pub namespace: String,
    pub mtls: bool,
    pub clock_skew: Duration,
}

impl Cluster {
    /// The cluster of the kubeconfig file.
    pub fn of(context: &Context) -> Result<Self, String> {
        let path = kubeconfig(context.var("KUBECONFIG"), context.var("HOME"))?;
        let config = ClusterConfig::from_kubeconfig(&path).map_err(|e| e.to_string())?;
        // The process ends with the command; its one connection needs no other end.
        let tasks = TaskGroup::new(Shutdown::new());
        Ok(Self { client: Client::new(&config, tasks).map_err(|e| e.to_string())? })
    }

    pub async fn system(&self) -> Result<System, String> {
        let list: Value = match self.client.get("/apis/dapr.io/v1alpha1/configurations").await {
            // Without the CRD there is no control plane.
            Err(error) if error.is_not_found() => Value::Null,
            answer => answer.map_err(|e| e.to_string())?,
        };
        system_of(&list)
    }

    /// The Secret's content.
    pub async fn material(&self) -> Result<Material, String> {
        let namespace = self.system().await?.namespace;
        material_of(&self.secret(&namespace).await?)
    }

    async fn secret(&self, namespace: &str) -> Result<Value, String> {
        self.client.get(&path("secrets", namespace)).await.map_err(|error: ApiError| {
            if error.is_not_found() {
                format!("could not find trust chain secret named {TRUST_BUNDLE} in namespace {namespace}")
            } else {
                error.to_string()
            }
        })
    }

    /// Writes the Secret and what is published of it. Other entries, such as
    /// the key of tokens, stay.
    pub async fn store(&self, namespace: &str, material: &Material) -> Result<(), String> {
        let text = |error: ApiError| error.to_string();
        let mut secret = self.secret(namespace).await?;
        let config_path = path("configmaps", namespace);
        let mut config: Value = self.client.get(&config_path).await.map_err(text)?;
        for (name, content) in material.parts() {
            put(&mut secret, name, STANDARD.encode(content));
        }
        put(&mut config, ROOT, String::from_utf8_lossy(&material.roots).into_owned());
        let _: Value = self.client.put(&path("secrets", namespace), &secret).await.map_err(text)?;
        // An authority that finds the two different makes new certificates.
        let stored: Result<Value, _> = self.client.put(&config_path, &config).await;
        stored.map(drop).map_err(|error| {
            format!(
                "the Secret {TRUST_BUNDLE} in namespace {namespace} has the new certificates but the ConfigMap has \
                 not; run the command again: {error}"
            )
        })
    }
}

fn path(kind: &str, namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{kind}/{TRUST_BUNDLE}")
}

fn kubeconfig(variable: Option<&str>, home: Option<&str>) -> Result<PathBuf, String> {
    let mut named = variable.unwrap_or_default().split(':').filter(|path| !path.is_empty());
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => {
            Err("KUBECONFIG names several files, which are not merged here; name one".to_owned())
        }
        (Some(path), None) => Ok(PathBuf::from(path)),
        _ => home
            .filter(|home| !home.is_empty())
            .map(|home| PathBuf::from(home).join(".kube/config"))
            .ok_or_else(|| {
                "invalid configuration: no configuration has been provided, try setting KUBECONFIG".to_owned()
            }),
    }
}

fn system_of(list: &Value) -> Result<System, String> {
    let system = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|item| item["metadata"]["name"] == SYSTEM_CONFIGURATION)
        .ok_or("system configuration not found")?;
    let mtls = &system["spec"]["mtls"];
    let clock_skew = match mtls["allowedClockSkew"].as_str() {
        None | Some("") => CLOCK_SKEW,
        Some(text) => parse_duration(text).map_err(|e| format!("allowedClockSkew: {e}"))?,
    };
    Ok(System {
        namespace: system["metadata"]["namespace"].as_str().unwrap_or("default").to_owned(),
        mtls: mtls["enabled"].as_bool().unwrap_or(true),
        clock_skew,
    })
}

fn material_of(secret: &Value) -> Result<Material, String> {
    let part = |name: &str| match secret["data"][name].as_str() {
        Some(text) if !text.is_empty() => {
            STANDARD.decode(text).map_err(|_| format!("{name} of the secret {TRUST_BUNDLE} is not base64"))
        }
        _ if name == ROOT => {
            Err("root certificate not loaded yet, please try again in few minutes".to_owned())
        }
        _ => Err(format!("the secret {TRUST_BUNDLE} has no {name} yet, please try again in few minutes")),
    };
    Ok(Material { roots: part(ROOT)?, issuer: part(ISSUER)?, key: part(KEY)? })
}

fn put(object: &mut Value, name: &str, text: String) {
    let Some(object) = object.as_object_mut() else { return };
    let data = object.entry("data").or_insert(Value::Null);
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    data[name] = text.into();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_system_configuration_is_found_in_any_namespace() {
        let list = json!({"items": [
            {"metadata": {"name": "appconfig", "namespace": "default"}},
            {"metadata": {"name": "daprsystem", "namespace": "dapr-system"}, "spec": {"mtls": {"enabled": false, "allowedClockSkew": "5m"}}},
        ]});
        let expected =
            System { namespace: "dapr-system".to_owned(), mtls: false, clock_skew: Duration::from_secs(300) };
        assert_eq!(system_of(&list), Ok(expected));
        for nothing in [json!({"items": null}), json!({"items": []}), Value::Null] {
            assert_eq!(system_of(&nothing), Err("system configuration not found".to_owned()));
        }
    }

    #[test]
    fn other_entries_of_the_secret_stay() {
        let mut secret = json!({"data": {"jwt.key": "eA=="}});
        for name in [ROOT, ISSUER, KEY] {
            assert!(material_of(&secret).is_err());
            put(&mut secret, name, STANDARD.encode(name));
        }
        let read = material_of(&secret).unwrap();
        assert_eq!((read.roots.as_slice(), read.key.as_slice()), (ROOT.as_bytes(), KEY.as_bytes()));
        assert_eq!(secret["data"]["jwt.key"], "eA==");
        let mut empty = json!({});
        put(&mut empty, ROOT, "x".to_owned());
        assert_eq!(empty, json!({"data": {"ca.crt": "x"}}));
    }

    #[test]
    fn the_kubeconfig_is_one_file() {
        let home = Some("/home/me");
        assert_eq!(kubeconfig(Some("/k"), home), Ok(PathBuf::from("/k")));
        assert_eq!(kubeconfig(Some(":/k:"), home), Ok(PathBuf::from("/k")));
        assert_eq!(kubeconfig(None, home), Ok(PathBuf::from("/home/me/.kube/config")));
        assert!(kubeconfig(Some("/a:/b"), home).unwrap_err().contains("several"));
        assert!(kubeconfig(None, None).unwrap_err().starts_with("invalid configuration: "));
    }
}
