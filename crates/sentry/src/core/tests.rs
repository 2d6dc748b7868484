use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;

use super::pod::PodError;
use super::request::ChoiceError;
use super::*;

fn request() -> SignRequest {
    SignRequest {
        id: "app".to_owned(),
        namespace: "ns".to_owned(),
        certificate_signing_request: Bytes::from_static(b"csr"),
        ..SignRequest::default()
    }
}

#[test]
fn the_requested_validator_judges_or_the_default() {
    let all = |_| true;
    assert_eq!(choose(0, Some(ValidatorKind::Insecure), all), Ok(ValidatorKind::Insecure));
    assert_eq!(choose(3, Some(ValidatorKind::Insecure), all), Ok(ValidatorKind::Jwks));
    assert_eq!(choose(0, None, all), Err(ChoiceError::None));
    for unknown in [-1, 4, i32::MAX] {
        assert_eq!(choose(unknown, Some(ValidatorKind::Insecure), all), Err(ChoiceError::NotEnabled));
    }
    assert_eq!(choose(2, None, |kind| kind != ValidatorKind::Kubernetes), Err(ChoiceError::NotEnabled));
}

#[test]
fn everything_that_is_missing_is_listed_in_order() {
    assert_eq!(check(&request()).unwrap().as_str(), "public");
    assert_eq!(
        check(&SignRequest::default()).unwrap_err(),
        "invalid request: parameter app-id cannot be empty\nCSR is required\nnamespace is required"
    );
    let long = SignRequest { id: format!("a.{}", "x".repeat(63)), ..request() };
    assert_eq!(
        check(&long).unwrap_err(),
        "invalid request: parameter app-id cannot contain dots\napp ID must be 64 characters or less"
    );
    let domain = |domain: &str| check(&SignRequest { trust_domain: domain.to_owned(), ..request() });
    assert_eq!(domain("example.com").unwrap().as_str(), "example.com");
    assert!(domain("Example/x").is_err());
}

#[test]
fn only_the_control_plane_gets_dns_names() {
    assert_eq!(dns_names("dapr-injector", "a", "a", "t"), ["dapr-sidecar-injector.a.svc"]);
    assert_eq!(dns_names("dapr-operator", "a", "a", "t"), ["dapr-webhook.a.svc"]);
    assert_eq!(
        dns_names("dapr-scheduler", "a", "a", "cluster.local"),
        [0, 1, 2].map(|n| format!("dapr-scheduler-server-{n}.dapr-scheduler-server.a.svc.cluster.local"))
    );
    assert!(dns_names("dapr-operator", "b", "a", "t").is_empty());
    assert!(dns_names("dapr-placement", "a", "a", "t").is_empty());
}

fn pod(annotations: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "annotations": annotations, "labels": {"x": "y"}},
        "spec": {"serviceAccountName": "sa", "containers": []},
    }))
    .unwrap()
}

#[test]
fn a_pod_is_who_its_annotations_say() {
    let identity = |annotations, own| expected_identity(&pod(annotations), own);
    let app = |app_id: &str, configuration: Option<&str>| {
        Ok(PodIdentity::Application {
            app_id: app_id.to_owned(),
            configuration: configuration.map(str::to_owned),
        })
    };
    assert_eq!(identity(json!(null), "dapr"), app("p", None));
    assert_eq!(identity(json!({"dapr.io/app-id": "a", "dapr.io/config": "c"}), "dapr"), app("a", Some("c")));
    let control = json!({"dapr.io/control-plane": "operator"});
    assert_eq!(identity(control.clone(), "ns").unwrap().app_id(), "dapr-operator");
    assert_eq!(identity(control, "dapr"), Err(PodError::ForeignNamespace("ns".to_owned())));
    let other = json!({"dapr.io/control-plane": "x"});
    assert_eq!(identity(other, "ns"), Err(PodError::UnknownService("p".to_owned())));
    let both = json!({"dapr.io/control-plane": "sentry", "dapr.io/app-id": "a"});
    assert_eq!(identity(both, "ns"), Err(PodError::AlsoApplication("p".to_owned())));
    assert_eq!(pod(json!(null)).service_account(), "sa");
}

#[test]
fn token_users_have_four_parts() {
    let user = TokenUser::parse("system:serviceaccount:ns:sa").unwrap();
    assert_eq!((user.namespace.as_str(), user.service_account.as_str()), ("ns", "sa"));
    for other in ["", "system:node:x", "kube:serviceaccount:ns:sa", "system:serviceaccount:a:b:c"] {
        assert_eq!(TokenUser::parse(other), None, "{other}");
    }
}

#[test]
fn serving_certificates_are_renewed_half_way() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let wait = |now| renewal(at(0), at(200), at(50), at(now));
    assert_eq!(wait(20), Some(Duration::from_secs(60)));
    assert_eq!(wait(90), Some(Duration::from_secs(10)));
    assert_eq!(wait(100), None);
    assert_eq!(
        renewal(at(0), at(1), at(100), at(100)),
        Some(Duration::from_secs(1)),
        "never without a pause"
    );
}

#[test]
fn long_claims_are_cut_for_the_log() {
    assert_eq!(shown("app"), "app");
    assert_eq!(shown(&"ä".repeat(1000)).chars().count(), 128);
}
