//! Who a pod is (control-plane.md §3.4, Kubernetes validator).

use dapr_kubernetes::{Meta, Object};
use dapr_security::spiffe::control_plane;
use serde::Deserialize;

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pod {
    metadata: PodMeta,
    spec: Option<PodSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PodMeta {
    #[serde(flatten)]
    common: Meta,
    annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Annotations {
    #[serde(rename = "dapr.io/control-plane")]
    control_plane: Option<String>,
    #[serde(rename = "dapr.io/app-id")]
    app_id: Option<String>,
    #[serde(rename = "dapr.io/config")]
    config: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    service_account_name: String,
}

impl Object for Pod {
    fn name(&self) -> &str {
        &self.metadata.common.name
    }
    fn namespace(&self) -> &str {
        &self.metadata.common.namespace
    }
    fn resource_version(&self) -> &str {
        &self.metadata.common.resource_version
    }
}

impl Pod {
    pub fn service_account(&self) -> &str {
        self.spec.as_ref().map_or("", |spec| spec.service_account_name.as_str())
    }
}

/// The user that a service account's token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUser {
    pub namespace: String,
    pub service_account: String,
}

impl TokenUser {
    /// From `system:serviceaccount:<namespace>:<name>`.
    pub fn parse(user: &str) -> Option<Self> {
        match user.split(':').collect::<Vec<_>>()[..] {
            ["system", _, namespace, account] => {
                Some(Self { namespace: namespace.to_owned(), service_account: account.to_owned() })
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    #[error("control plane service in namespace '{0}' is not allowed")]
    ForeignNamespace(String),
    #[error("unknown control plane service '{0}'")]
    UnknownService(String),
    #[error("control plane service '{0}' cannot have annotation 'dapr.io/app-id'")]
    AlsoApplication(String),
}

/// The app ID of a pod, and what decides its trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodIdentity {
    /// In the trust domain of the control plane.
    ControlPlane { app_id: String },
    /// In the trust domain that the named Configuration says.
    Application { app_id: String, configuration: Option<String> },
}

impl PodIdentity {
    pub fn app_id(&self) -> &str {
        match self {
            Self::ControlPlane { app_id } | Self::Application { app_id, .. } => app_id,
        }
    }
}

/// Who `pod` is, from its annotations or else its name.
pub fn expected_identity(pod: &Pod, own_namespace: &str) -> Result<PodIdentity, PodError> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    if let Some(service) = annotations.control_plane {
        if pod.namespace() != own_namespace {
            return Err(PodError::ForeignNamespace(pod.namespace().to_owned()));
        }
        let app_id = format!("dapr-{service}");
        if !control_plane::is_service(&app_id) {
            return Err(PodError::UnknownService(pod.name().to_owned()));
        }
        if annotations.app_id.is_some() {
            return Err(PodError::AlsoApplication(pod.name().to_owned()));
        }
        return Ok(PodIdentity::ControlPlane { app_id });
    }
    let app_id = annotations.app_id.unwrap_or_else(|| pod.name().to_owned());
    Ok(PodIdentity::Application { app_id, configuration: annotations.config })
}
