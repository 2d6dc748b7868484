//! Service account tokens of pods (control-plane.md §3.4).

use dapr_kernel::health::Target;
use dapr_kernel::tasks::TaskGroup;
use dapr_kubernetes::{Client, Meta, Object, Reflector, Store};
use dapr_security::ca::jwt;
use dapr_security::spiffe::{SpiffeId, TrustDomain};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::core::{Pod, PodIdentity, SignRequest, TokenUser, check, expected_identity};

const SCOPE: &str = "dapr.sentry.identity.kubernetes";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const PODS: &str = "/api/v1/pods";
const CONFIGURATIONS: &str = "/apis/dapr.io/v1alpha1/configurations";
/// What sidecars before Dapr 1.13 ask tokens for.
const LEGACY_AUDIENCE: &str = "dapr.io/sentry";

/// What is kept of a Configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct TrustConfiguration {
    metadata: Meta,
    spec: Option<Spec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    access_control: Option<AccessControl>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AccessControl {
    trust_domain: String,
}

impl Object for TrustConfiguration {
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl TrustConfiguration {
    fn trust_domain(&self) -> &str {
        let access = self.spec.as_ref().and_then(|spec| spec.access_control.as_ref());
        access.map_or("", |access| access.trust_domain.as_str())
    }
}

#[derive(Debug)]
pub struct KubernetesValidator {
    client: Client,
    own_id: SpiffeId,
    pods: Store<Pod>,
    configurations: Store<TrustConfiguration>,
    synced: [watch::Receiver<bool>; 2],
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    error: String,
    user: ReviewUser,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewUser {
    username: String,
}

impl KubernetesValidator {
    /// Starts to follow pods and Configurations of the whole cluster; `health`
    /// is ready once both are known.
    pub fn start(client: Client, own_id: SpiffeId, health: Target, tasks: &TaskGroup) -> Self {
        health.not_ready();
        let pods = Reflector::new(client.clone(), PODS);
        let configurations = Reflector::new(client.clone(), CONFIGURATIONS);
        let validator = Self {
            client,
            own_id,
            pods: pods.store(),
            configurations: configurations.store(),
            synced: [pods.synced(), configurations.synced()],
        };
        tasks.spawn_until_shutdown("pods", pods.run());
        tasks.spawn_until_shutdown("configurations", configurations.run());
        let mut synced = validator.synced.clone();
        tasks.spawn_until_shutdown("kubernetes validator", async move {
            for one in &mut synced {
                if one.wait_for(|synced| *synced).await.is_err() {
                    return;
                }
            }
            health.ready();
        });
        validator
    }

    pub async fn validate(&self, request: &SignRequest) -> Result<TrustDomain, String> {
        if self.synced.iter().any(|synced| !*synced.borrow()) {
            return Err("validator not ready".to_owned());
        }
        // The trust domain that is asked for does not count.
        check(request)?;
        let user = self.review(&request.token).await?;
        let name = pod_name(&request.token)?;
        let Some(pod) = self.pods.get(&user.namespace, &name) else {
            tracing::error!(
                target: SCOPE,
                "Failed to get pod {}/{name} for requested identity: it is not known", user.namespace
            );
            return Err("failed to get pod of identity".to_owned());
        };
        if user.namespace != request.namespace {
            return Err(format!("namespace mismatch; received namespace: {}", request.namespace));
        }
        if pod.service_account() != user.service_account {
            tracing::error!(
                target: SCOPE,
                "Service account on pod {}/{name} does not match token", request.namespace
            );
            return Err("pod service account mismatch".to_owned());
        }
        let identity = expected_identity(&pod, self.own_id.namespace()).map_err(|e| {
            tracing::error!(
                target: SCOPE,
                "Failed to get expected ID for pod {}/{name}: {e}", request.namespace
            );
            e.to_string()
        })?;
        if identity.app_id() != request.id {
            return Err(format!(
                "app-id mismatch. expected: {}, received: {}",
                identity.app_id(),
                request.id
            ));
        }
        self.trust_domain(&identity, &request.namespace)
    }

    fn trust_domain(&self, identity: &PodIdentity, namespace: &str) -> Result<TrustDomain, String> {
        let name = match identity {
            PodIdentity::ControlPlane { .. } => return Ok(self.own_id.trust_domain()),
            PodIdentity::Application { configuration: None, .. } => return Ok(TrustDomain::default()),
            PodIdentity::Application { configuration: Some(name), .. } => name,
        };
        let Some(configuration) = self.configurations.get(namespace, name) else {
            tracing::error!(target: SCOPE, "Failed to get configuration {name:?}: it is not known in {namespace}");
            return Err("failed to get configuration".to_owned());
        };
        match configuration.trust_domain() {
            "" => Ok(TrustDomain::default()),
            domain => TrustDomain::parse(domain)
                .map_err(|e| format!("failed to parse trust domain {domain:?}: {e}")),
        }
    }

    /// Asks the cluster whose token this is.
    async fn review(&self, token: &str) -> Result<TokenUser, String> {
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": {"token": token, "audiences": [LEGACY_AUDIENCE, self.own_id.as_str()]},
        });
        let answer: Result<Review, _> = self.client.post(REVIEWS, &review).await;
        let status = answer.map_err(|e| format!("token review failed: {e}"))?.status;
        if !status.error.is_empty() {
            return Err(format!("invalid token: {}", status.error));
        }
        if !status.authenticated {
            return Err("authentication failed".to_owned());
        }
        TokenUser::parse(&status.user.username)
            .ok_or_else(|| "provided token is not a properly structured service account token".to_owned())
    }
}

/// The pod that the token was made for. Its signature has been checked by the
/// cluster.
fn pod_name(token: &str) -> Result<String, String> {
    let claims =
        jwt::unverified_claims(token).map_err(|e| format!("failed to parse Kubernetes token: {e}"))?;
    let name = claims.get("kubernetes.io").and_then(|claim| claim.pointer("/pod/name"));
    match name.and_then(Value::as_str) {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("kubernetes.io/pod/name claim is missing from Kubernetes token".to_owned()),
    }
}
