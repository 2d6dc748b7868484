//! From `spec.accessControl` to what calls of other sidecars are judged by
//! (control-plane.md §6.1).

use std::sync::Arc;

use dapr_app_channel::Protocol as AppProtocol;
use dapr_blocks::invoke::AccessGuard;
use dapr_resources::configuration::{AccessControlSpec, AppOperation, AppPolicySpec};
use dapr_security::acl::{self, AccessControl, Protocol};
use dapr_telemetry::metrics::catalogue::Catalogue;

/// `None` when anyone may call anything and nobody counts it.
pub fn guard(
    spec: Option<&AccessControlSpec>,
    app: AppProtocol,
    metrics: Option<Arc<Catalogue>>,
) -> Result<Option<Arc<AccessGuard>>, String> {
    let Some(spec) = spec else { return Ok(None) };
    let protocol = if app.is_grpc() { Protocol::Grpc } else { Protocol::Http };
    let list = AccessControl::compile(&to_spec(spec), protocol).map_err(|e| e.to_string())?;
    let Some(list) = list else { return Ok(None) };
    if list.allows_everything() && metrics.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(AccessGuard::new(list, protocol, metrics))))
}

/// Whether `spec` compiles, for tools that judge files before anything runs.
pub fn check(spec: &AccessControlSpec) -> Result<(), String> {
    AccessControl::compile(&to_spec(spec), Protocol::Http).map(|_| ()).map_err(|error| error.to_string())
}

fn to_spec(spec: &AccessControlSpec) -> acl::Spec {
    acl::Spec {
        default_action: spec.default_action.clone(),
        trust_domain: spec.trust_domain.clone(),
        policies: spec.policies.as_ref().map(|policies| policies.iter().map(to_policy).collect()),
    }
}

fn to_policy(policy: &AppPolicySpec) -> acl::AppPolicySpec {
    acl::AppPolicySpec {
        app_id: policy.app_id.clone(),
        default_action: policy.default_action.clone(),
        trust_domain: policy.trust_domain.clone(),
        namespace: policy.namespace.clone(),
        operations: policy.operations.iter().map(to_operation).collect(),
    }
}

fn to_operation(operation: &AppOperation) -> acl::OperationSpec {
    acl::OperationSpec {
        name: operation.name.clone(),
        verbs: operation.http_verb.clone(),
        action: operation.action.clone(),
    }
}

#[cfg(test)]
mod tests {
    use dapr_resources::configuration::Configuration;

    use super::*;

    #[test]
    fn without_a_list_nobody_is_asked() {
        let spec = Configuration::default().access_control;
        assert!(guard(spec.as_ref(), AppProtocol::Http, None).unwrap().is_none());
        assert!(guard(None, AppProtocol::Http, None).unwrap().is_none());
        let deny = AccessControlSpec { default_action: "deny".into(), ..AccessControlSpec::default() };
        assert!(guard(Some(&deny), AppProtocol::Http, None).unwrap().is_some());
    }

    #[test]
    fn an_incomplete_policy_ends_the_start() {
        let policy = AppPolicySpec { app_id: "a".into(), ..AppPolicySpec::default() };
        let spec = AccessControlSpec { policies: Some(vec![policy]), ..AccessControlSpec::default() };
        let error = guard(Some(&spec), AppProtocol::Http, None).unwrap_err();
        assert_eq!(
            error,
            "invalid access control spec. missing trustdomain for apps: [a], missing namespace for apps: [a], missing app name on at least one of the app policies: false"
        );
    }
}
