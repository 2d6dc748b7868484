use super::*;
use crate::metrics::registry::RegistryOptions;

fn catalogue(options: CatalogueOptions) -> (Registry, Catalogue) {
    let options_of_registry =
        RegistryOptions { app_id: Some("app".into()), process: false, ..RegistryOptions::default() };
    let registry = Registry::new(options_of_registry).unwrap();
    let catalogue = Catalogue::new(&registry, &options);
    (registry, catalogue)
}

/// The samples without buckets.
fn samples(registry: &Registry) -> Vec<String> {
    let text = registry.render();
    text.lines().filter(|l| !l.starts_with('#') && !l.contains("_bucket{")).map(str::to_owned).collect()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn declaring_the_catalogue_exposes_nothing() {
    let (registry, _) =
        catalogue(CatalogueOptions { record_error_codes: true, ..CatalogueOptions::default() });
    assert_eq!(registry.render(), "");
}

#[test]
fn http_server() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    c.http_server.record("GET", "/v1.0/state/s/k", 204, Duration::from_micros(2900), 0, 7);
    assert_eq!(
        samples(&registry),
        [
            "dapr_http_server_latency_sum{app_id=\"app\",method=\"GET\",path=\"/v1.0/state/s\",status=\"204\"} 2",
            "dapr_http_server_latency_count{app_id=\"app\",method=\"GET\",path=\"/v1.0/state/s\",status=\"204\"} 1",
            "dapr_http_server_request_bytes_sum{app_id=\"app\"} 0",
            "dapr_http_server_request_bytes_count{app_id=\"app\"} 1",
            "dapr_http_server_request_count{app_id=\"app\",method=\"GET\",path=\"/v1.0/state/s\",status=\"204\"} 1",
            "dapr_http_server_response_bytes_sum{app_id=\"app\"} 7",
            "dapr_http_server_response_bytes_count{app_id=\"app\"} 1",
            "dapr_http_server_response_count{app_id=\"app\",method=\"GET\",path=\"/v1.0/state/s\",status=\"204\"} 1",
        ]
    );
}

#[test]
fn low_cardinality_has_no_response_count_and_no_path() {
    let http = HttpLabelOptions { increased_cardinality: false, ..HttpLabelOptions::default() };
    let (registry, c) = catalogue(CatalogueOptions { http, ..CatalogueOptions::default() });
    c.http_server.record("GET", "/v1.0/state/s/k", 200, MS, 0, 0);
    let text = registry.render();
    assert!(text.contains(
        "dapr_http_server_request_count{app_id=\"app\",method=\"GET\",path=\"\",status=\"200\"} 1"
    ));
    assert!(!text.contains("response_count"));
}

#[test]
fn http_client_sends_without_a_status() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    c.http_client.started("PUT", "actors/T/1/method/go", 3);
    let sum = &samples(&registry)[0];
    assert_eq!(
        sum,
        "dapr_http_client_sent_bytes_sum{app_id=\"app\",method=\"PUT\",path=\"actors/T/{id}/method/go\",status=\"\"} 3"
    );
}

#[test]
fn components_have_fractional_latencies_and_skip_zero() {
    let (registry, c) = catalogue(CatalogueOptions { namespace: "ns".into(), ..CatalogueOptions::default() });
    c.components.state.record("store", operation::GET, true, Duration::from_micros(1500));
    c.components.secret.record("vault", operation::GET, false, Duration::ZERO);
    assert_eq!(
        samples(&registry),
        [
            "dapr_component_secret_count{app_id=\"app\",component=\"vault\",namespace=\"ns\",operation=\"get\",success=\"false\"} 1",
            "dapr_component_state_count{app_id=\"app\",component=\"store\",namespace=\"ns\",operation=\"get\",success=\"true\"} 1",
            "dapr_component_state_latencies_sum{app_id=\"app\",component=\"store\",namespace=\"ns\",operation=\"get\",success=\"true\"} 1.5",
            "dapr_component_state_latencies_count{app_id=\"app\",component=\"store\",namespace=\"ns\",operation=\"get\",success=\"true\"} 1",
        ]
    );
}

#[test]
fn pubsub_status_defaults_to_the_process_status() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    c.components.pubsub.ingress("ps", "t", "drop", Some("success"), Duration::ZERO);
    c.components.pubsub.ingress("ps", "t", "retry", None, Duration::ZERO);
    c.components.pubsub.bulk_ingress_entries("ps", "t", "success", 5);
    c.components.pubsub.bulk_ingress_entries("ps", "t", "drop", 0);
    let all = samples(&registry);
    assert!(all[0].starts_with("dapr_component_pubsub_ingress_bulk_event_count{") && all[0].ends_with("} 1"));
    assert!(all[1].contains("process_status=\"drop\",status=\"success\""));
    assert!(all[2].contains("process_status=\"retry\",status=\"retry\""));
    assert_eq!(all.len(), 3);
}

#[test]
fn access_control_names_the_caller() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    c.acl.app_policy(false, "caller", "public", "ns");
    assert_eq!(
        samples(&registry),
        [
            "dapr_runtime_acl_app_policy_action_blocked_total{app_id=\"caller\",namespace=\"ns\",trustDomain=\"public\"} 1"
        ]
    );
}

#[test]
fn a_breaker_has_one_series_per_state() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    let labels = ResiliencyLabels {
        name: "r",
        namespace: "",
        policy: "circuitbreaker",
        flow_direction: "outbound",
        target: "app_b",
        state: "open",
    };
    c.resiliency.attached(&PolicySeries::default(), labels);
    let states: Vec<String> = samples(&registry)
        .iter()
        .filter(|l| l.starts_with("dapr_resiliency_cb_state"))
        .map(|l| {
            l.split("status=\"").nth(1).unwrap().split(',').next().unwrap().to_owned()
                + l.rsplit(' ').next().unwrap()
        })
        .collect();
    assert_eq!(states, ["closed\"0", "half-open\"0", "open\"1", "unknown\"0"]);
}

#[test]
fn invocation_and_grpc() {
    let (registry, c) = catalogue(CatalogueOptions::default());
    c.invocation.request_sent("b", MessageKind::Unary);
    c.invocation.stream_received("b", 200);
    c.grpc.served("/dapr.proto.runtime.v1.Dapr/GetState", "OK", 3, 0, Duration::from_micros(900));
    let all = samples(&registry).join("\n");
    for part in [
        "dapr_grpc_io_server_completed_rpcs{app_id=\"app\",grpc_server_method=\"/dapr.proto.runtime.v1.Dapr/GetState\",grpc_server_status=\"OK\"} 1",
        "dapr_grpc_io_server_server_latency_sum{app_id=\"app\",grpc_server_method=\"/dapr.proto.runtime.v1.Dapr/GetState\",grpc_server_status=\"OK\"} 0",
        "dapr_grpc_io_server_received_bytes_per_rpc_sum{app_id=\"app\",grpc_server_method=\"/dapr.proto.runtime.v1.Dapr/GetState\"} 3",
        "dapr_runtime_service_invocation_req_sent_total{app_id=\"app\",dst_app_id=\"b\",type=\"unary\"} 1",
        "dapr_runtime_service_invocation_res_recv_total{app_id=\"app\",src_app_id=\"b\",status=\"200\",type=\"streaming\"} 1",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
}

#[test]
fn configured_bounds_replace_the_default() {
    let (registry, c) =
        catalogue(CatalogueOptions { latency_buckets: vec![5.0, -1.0, 50.0], ..CatalogueOptions::default() });
    c.components.state.record("s", "get", true, MS);
    let text = registry.render();
    let bounds: Vec<&str> = text.lines().filter_map(|l| l.split("le=\"").nth(1)).collect();
    assert_eq!(bounds, ["5\"} 1", "50\"} 1", "+Inf\"} 1"]);
}
