use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::component::Component;
use crate::yaml::parse_first;

fn merged(files: &[&str]) -> Result<Configuration, ConfigurationError> {
    let mut node = default_node();
    for text in files {
        let upper = parse_first(text).unwrap().unwrap();
        node = merge(node, upper, Dialect::Configuration).unwrap();
    }
    Configuration::from_merged(&node, Dialect::Configuration)
}

fn one(text: &str) -> Configuration {
    merged(&[text]).unwrap()
}

#[test]
fn defaults() {
    let c = Configuration::default();
    assert!(c.metric.is_enabled() && c.metric.increased_cardinality());
    assert!(!c.metric.records_error_codes() && !c.metric.excludes_verbs());
    assert!(c.tracing.otel.as_ref().unwrap().secure());
    let access = c.access_control.as_ref().unwrap();
    assert_eq!((access.default_action.as_str(), access.trust_domain.as_str()), ("allow", "public"));
    assert_eq!(c.enabled_features(), BTreeSet::from(["HotReload", "WorkflowsRemoteActivityReminder"]));
    assert!(c.is_feature_enabled(Feature::HotReload));
    assert!(!c.is_feature_enabled(Feature::ActorStateTtl));
}

#[test]
fn every_field_is_read() {
    let c = one("
apiVersion: whatever
kind: Anything
metadata: {name: cfg}
spec:
  httpPipeline: {handlers: [{name: a, type: middleware.http.x, version: v1, selector: {fields: [{field: f, value: v}]}}]}
  appHttpPipeline: {handlers: [{name: b, type: middleware.http.y}]}
  tracing:
    samplingRate: 1
    stdout: yes
    zipkin: {endpointAddress: 'http://z'}
    otel: {protocol: grpc, endpointAddress: e, isSecure: false, headers: ['a=b', c=d], timeout: 1m30s}
  metric:
    enabled: true
    recordErrorCodes: true
    latencyDistributionBuckets: [1, 5]
    http: {increasedCardinality: false, pathMatching: [/a], excludeVerbs: true}
    rules: [{name: r, labels: [{name: l, regex: {x: 'y.*'}}]}]
  secrets: {scopes: [{storeName: s, defaultAccess: Deny, allowedSecrets: [a], deniedSecrets: [b]}]}
  accessControl:
    defaultAction: deny
    trustDomain: td
    policies: [{appId: p, defaultAction: allow, trustDomain: t, namespace: n, operations: [{name: /op, httpVerb: [GET], action: deny}]}]
  nameResolution: {component: sqlite, version: v1, configuration: {connectionString: x, n: 5}}
  features: [{name: ActorStateTTL, enabled: true}, {name: HotReload, enabled: false}]
  api: {allowed: [{name: state, version: v1.0, protocol: HTTP}], denied: [{name: invoke, version: v1, protocol: grpc}]}
  components: {deny: [bindings.cron, state.redis/v1]}
  logging: {apiLogging: {enabled: true, obfuscateURLs: true, omitHealthChecks: true}}
  wasm: {strictSandbox: true}
  mtls: {enabled: true, workloadCertTTL: 24h, allowedClockSkew: 15m, sentryAddress: s, controlPlaneTrustDomain: c, tokenValidators: [{name: jwks, options: {source: x}}]}
  workflow:
    maxConcurrentWorkflowInvocations: 32
    maxConcurrentActivityInvocations: 0
    globalMaxConcurrentWorkflowInvocations: 7
    workflowConcurrencyLimits: [{name: w, maxConcurrent: 3}]
    stateRetentionPolicy: {anyTerminal: 0s, failed: 72h}
  unknown: 1
");
    assert_eq!(c.name, "cfg");
    assert_eq!(c.http_pipeline.handlers[0].log_name(), "a (middleware.http.x/v1)");
    assert_eq!(c.app_http_pipeline.handlers[0].log_name(), "b (middleware.http.y)");
    assert_eq!(c.tracing.sampling_rate, "1");
    assert!(c.tracing.stdout);
    assert_eq!(c.tracing.zipkin.as_ref().unwrap().endpoint_address, "http://z");
    let otel = c.tracing.otel.as_ref().unwrap();
    assert!(!otel.secure());
    assert_eq!(otel.headers, ["a=b", "c=d"]);
    assert_eq!(otel.timeout, Some(Duration::from_secs(90)));
    assert!(c.metric.records_error_codes() && c.metric.excludes_verbs() && !c.metric.increased_cardinality());
    assert_eq!(c.metric.path_matching(), ["/a"]);
    assert_eq!(c.metric.latency_distribution_buckets, Some(vec![1, 5]));
    assert_eq!(c.metric.rules[0].labels[0].regex["x"], "y.*");
    assert!(c.secret_scope("s").is_some() && c.secret_scope("t").is_none());
    let policies = c.access_control.as_ref().unwrap().policies.as_ref().unwrap();
    assert_eq!(policies[0].operations[0].http_verb, ["GET"]);
    assert_eq!(c.name_resolution.as_ref().unwrap().configuration, json!({"connectionString": "x", "n": 5}));
    assert_eq!(c.enabled_features(), BTreeSet::from(["ActorStateTTL", "WorkflowsRemoteActivityReminder"]));
    assert_eq!(c.api.allowed_for(ApiProtocol::Http), BTreeSet::from(["v1.0/state".to_owned()]));
    assert!(c.api.allowed_for(ApiProtocol::Grpc).is_empty());
    assert_eq!(c.api.denied_for(ApiProtocol::Grpc), BTreeSet::from(["v1/invoke".to_owned()]));
    assert!(c.logging.api_logging.obfuscate_urls && c.logging.api_logging.omit_health_checks);
    assert!(c.wasm.strict_sandbox);
    assert_eq!(c.mtls.workload_cert_ttl, "24h");
    assert_eq!(c.mtls.token_validators[0].options, json!({"source": "x"}));
    assert_eq!((c.workflow.workflow_limit(), c.workflow.activity_limit()), (Some(32), None));
    assert_eq!((c.workflow.global_workflow_limit(), c.workflow.global_activity_limit()), (Some(7), None));
    assert_eq!(c.workflow.workflow_concurrency_limits[0].max_concurrent, Some(3));
    let retention = c.workflow.state_retention_policy.unwrap();
    assert_eq!(retention.any_terminal, Some(Duration::ZERO));
    assert_eq!((retention.failed, retention.completed), (Some(Duration::from_secs(72 * 3600)), None));
}

#[test]
fn objects_merge_and_lists_are_replaced() {
    let first = "spec: {tracing: {samplingRate: '1', otel: {endpointAddress: a}}, features: [{name: A, enabled: true}], nameResolution: {component: c, configuration: {a: 1, b: 2}}}";
    let second = "spec: {tracing: {stdout: true}, features: [{name: B, enabled: true}], nameResolution: {configuration: {b: 3}}}";
    let c = merged(&[first, second]).unwrap();
    assert_eq!((c.tracing.sampling_rate.as_str(), c.tracing.stdout), ("1", true));
    let otel = c.tracing.otel.as_ref().unwrap();
    assert_eq!((otel.endpoint_address.as_str(), otel.secure()), ("a", true));
    assert!(c.enabled_features().contains("B") && !c.enabled_features().contains("A"));
    let resolution = c.name_resolution.unwrap();
    assert_eq!((resolution.component.as_str(), resolution.configuration), ("c", json!({"b": 3})));
}

#[test]
fn a_null_removes_a_default() {
    assert_eq!(one("spec: {accessControl: null}").access_control, None);
    let policies = |text: &str| one(text).access_control.unwrap().policies;
    assert_eq!(policies("spec: {accessControl: {policies: }}"), None);
    assert_eq!(policies("spec: {accessControl: {policies: []}}"), Some(vec![]));
    assert_eq!(one("spec: {tracing: {otel: }}").tracing.otel, None);
}

#[test]
fn keys_are_case_sensitive() {
    assert!(!one("spec: {Tracing: {stdout: true}}").tracing.stdout);
}

#[test]
fn metrics_lie_over_metric_field_by_field() {
    let c = one(
        "spec: {metric: {enabled: true, recordErrorCodes: true, rules: [{name: a}]}, metrics: {enabled: false, http: {excludeVerbs: true}}}",
    );
    assert!(!c.metric.is_enabled());
    assert!(c.metric.records_error_codes() && c.metric.excludes_verbs());
    assert_eq!(c.metric.rules[0].name, "a");
}

#[test]
fn secret_scopes() {
    let scope = |yaml: &str| {
        let c = one(&format!("spec: {{secrets: {{scopes: [{{storeName: s, {yaml}}}]}}}}"));
        c.secrets.scopes[0].clone()
    };
    let open = scope("defaultAccess: ''");
    assert!(open.is_allowed("x"));
    let denied = scope("deniedSecrets: [a]");
    assert!(!denied.is_allowed("a") && denied.is_allowed("b"));
    let closed = scope("defaultAccess: DENY");
    assert!(!closed.is_allowed("a"));
    let listed = scope("defaultAccess: allow, allowedSecrets: [a], deniedSecrets: [a]");
    assert!(listed.is_allowed("a") && !listed.is_allowed("b"));
}

#[test]
fn bad_secret_scopes() {
    let repeated = merged(&["spec: {secrets: {scopes: [{storeName: s}, {storeName: s}]}}"]).unwrap_err();
    assert_eq!(repeated.to_string(), "s storeName is repeated in secrets configuration");
    let access = merged(&["spec: {secrets: {scopes: [{storeName: s, defaultAccess: maybe}]}}"]).unwrap_err();
    assert_eq!(access.to_string(), "defaultAccess maybe can be either allow or deny");
}

#[test]
fn denied_components() {
    let deny = one("spec: {components: {deny: [bindings.cron, state.redis/v1, '', a/b/c]}}").components;
    let component = |component_type: &str, version: &str| Component {
        name: "c".to_owned(),
        component_type: component_type.to_owned(),
        version: version.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        deny.denial(&component("state.redis", "v1")).unwrap(),
        "component 'c' cannot be loaded because components of type 'c (state.redis/v1)' are not allowed"
    );
    assert!(deny.denial(&component("bindings.cron", "v9")).is_some());
    assert!(deny.denial(&component("state.redis", "v2")).is_none());
    assert!(deny.denial(&component("a", "b/c")).is_none());
    assert!(deny.denial(&component("state.redis", "")).is_some());
    assert!(ComponentsSpec::default().denial(&component("", "")).is_none());
}

#[test]
fn custom_resources_of_the_operator() {
    let c = Configuration::from_json(&json!({
        "metadata": {"name": "daprsystem", "namespace": "dapr-system"},
        "spec": {
            "tracing": {"samplingRate": "1", "otel": {"endpointAddress": "e", "isSecure": true, "protocol": "grpc",
                "headers": [{"name": "a", "value": "b"}, {"name": "n", "value": 5}], "timeout": "5s"}},
            "accessControl": {"defaultAction": "deny"},
            "workflow": {"stateRetentionPolicy": {"completed": "1m0s"}},
            "mtls": {"enabled": true, "workloadCertTTL": "24h"},
        }
    }))
    .unwrap();
    assert_eq!((c.name.as_str(), c.namespace.as_str()), ("daprsystem", "dapr-system"));
    let otel = c.tracing.otel.unwrap();
    assert_eq!(otel.headers, ["a=b", "n=5"]);
    assert_eq!(otel.timeout, Some(Duration::from_secs(5)));
    let access = c.access_control.unwrap();
    assert_eq!((access.default_action.as_str(), access.trust_domain.as_str()), ("deny", "public"));
    assert_eq!(c.workflow.state_retention_policy.unwrap().completed, Some(Duration::from_secs(60)));
    assert!(c.mtls.enabled);
}

#[test]
fn complaints_name_the_line() {
    let error = merged(&["spec:\n  tracing:\n    stdout: perhaps\n"]).unwrap_err().to_string();
    assert_eq!(error, "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `perhaps` into bool");
    assert!(merged(&["spec: {tracing: {otel: {timeout: soon}}}"]).is_err());
    assert!(merged(&["spec: {features: 5}"]).is_err());
}
