use super::*;
use crate::metrics::{LabelRule, SIZE_BUCKETS, format_float};

fn registry(options: RegistryOptions) -> Registry {
    Registry::new(RegistryOptions { app_id: Some("app".into()), process: false, ..options }).unwrap()
}

#[test]
fn families_appear_once_recorded_with_sorted_labels_and_empty_ones_kept() {
    let r = registry(RegistryOptions::default());
    r.counter("never/used", "Unused.", &[]);
    let c = r.counter("component/state/count", "Operations.", &["operation", "component", "namespace"]);
    let handle = c.with(&["get", "store", ""]);
    handle.increment();
    c.with(&["get", "store", ""]).increment();
    assert_eq!(
        r.render(),
        "# HELP dapr_component_state_count Operations.\n\
         # TYPE dapr_component_state_count counter\n\
         dapr_component_state_count{app_id=\"app\",component=\"store\",namespace=\"\",operation=\"get\"} 2\n"
    );
}

#[test]
fn labels_before_app_id_keep_the_order() {
    let r = registry(RegistryOptions::default());
    r.gauge("runtime/actor/timers", "Timers.", &["actor_type"]).with(&["a\"b\\c\n"]).set(-3);
    assert!(
        r.render().ends_with("dapr_runtime_actor_timers{actor_type=\"a\\\"b\\\\c\\n\",app_id=\"app\"} -3\n")
    );
}

#[test]
fn a_family_may_have_its_own_app_id() {
    let r = registry(RegistryOptions::default());
    r.counter("runtime/acl/x", "X.", &["app_id"]).with(&["caller"]).increment();
    assert!(r.render().ends_with("dapr_runtime_acl_x{app_id=\"caller\"} 1\n"));
}

#[test]
fn histograms_are_cumulative_and_bounds_exclude_their_value() {
    let r = registry(RegistryOptions::default());
    let h = r.histogram("grpc.io/server/x", "X.", &[], &Buckets::new(&[1.0, 2.5, 0.0, -1.0])).with(&[]);
    for value in [0.0, 1.0, 2.4, 9.25] {
        h.record(value);
    }
    assert_eq!((h.count(), h.sum()), (4, 12.65));
    assert_eq!(
        r.render(),
        "# HELP dapr_grpc_io_server_x X.\n# TYPE dapr_grpc_io_server_x histogram\n\
         dapr_grpc_io_server_x_bucket{app_id=\"app\",le=\"1\"} 1\n\
         dapr_grpc_io_server_x_bucket{app_id=\"app\",le=\"2.5\"} 3\n\
         dapr_grpc_io_server_x_bucket{app_id=\"app\",le=\"+Inf\"} 4\n\
         dapr_grpc_io_server_x_sum{app_id=\"app\"} 12.65\n\
         dapr_grpc_io_server_x_count{app_id=\"app\"} 4\n"
    );
}

#[test]
fn series_are_sorted_by_their_values() {
    let r = registry(RegistryOptions::default());
    let c = r.counter("a", "A.", &["x"]);
    for value in ["b", "", "a"] {
        c.with(&[value]).increment();
    }
    let text = r.render();
    let order: Vec<&str> = text.lines().skip(2).map(|l| l.split("x=\"").nth(1).unwrap()).collect();
    assert_eq!(order, ["\"} 1", "a\"} 1", "b\"} 1"]);
}

#[test]
fn beyond_the_limit_new_series_count_nowhere_and_old_ones_go_on() {
    let r = registry(RegistryOptions { series_limit: 1, ..RegistryOptions::default() });
    let c = r.counter("a", "A.", &["x"]);
    c.with(&["1"]).increment();
    c.with(&["2"]).increment();
    c.with(&["2"]).increment();
    c.with(&["1"]).increment();
    assert_eq!(r.series(), 1);
    let text = r.render();
    assert!(text.contains("dapr_a{app_id=\"app\",x=\"1\"} 2\n"), "{text}");
    assert!(!text.contains("x=\"2\""));
    assert!(text.ends_with("dapr_metrics_series_dropped_total{family=\"dapr_a\"} 2\n"), "{text}");
}

#[test]
fn a_family_that_grows_leaves_the_others_their_room() {
    let r = registry(RegistryOptions { family_series_limit: 3, ..RegistryOptions::default() });
    let (greedy, modest) = (r.counter("greedy", "G.", &["path"]), r.counter("modest", "M.", &[]));
    for i in 0..100 {
        greedy.with(&[&format!("/{i}")]).increment();
    }
    modest.with(&[]).increment();
    assert_eq!(r.series(), 4);
    let text = r.render();
    assert!(text.contains("dapr_modest{app_id=\"app\"} 1\n"), "{text}");
    assert!(text.contains("dapr_metrics_series_dropped_total{family=\"dapr_greedy\"} 97\n"), "{text}");
}

fn rule(metric: &str, label: &str, replacement: &str, pattern: &str) -> Rule {
    let regex = vec![(replacement.to_owned(), pattern.to_owned())];
    Rule { name: metric.into(), labels: vec![LabelRule { name: label.into(), regex }] }
}

#[test]
fn rules_rewrite_values_that_are_not_empty() {
    let rules = vec![
        rule("dapr_http_server_request_count", "path", "/orders/$1x", "/orders/.+"),
        rule("grpc_io_server_completed_rpcs", "m", "never", ".*"),
    ];
    let r = registry(RegistryOptions { rules, ..RegistryOptions::default() });
    let c = r.counter("http/server/request_count", "R.", &["path"]);
    c.with(&["/orders/1"]).increment();
    c.with(&["/orders/2"]).increment();
    c.with(&[""]).increment();
    r.counter("grpc.io/server/completed_rpcs", "G.", &["m"]).with(&["get"]).increment();
    let text = r.render();
    assert!(text.contains("path=\"/orders/\"} 2"), "{text}");
    assert!(text.contains("path=\"\"} 1"));
    assert!(text.contains("m=\"get\"} 1"), "measures with a dot cannot be addressed");
}

#[test]
fn a_bad_rule_says_which() {
    let rules = vec![rule("dapr_http_server_latency", "path", "x", "(")];
    let error = Registry::new(RegistryOptions { rules, ..RegistryOptions::default() }).unwrap_err();
    assert!(error.to_string().starts_with("failed to compile regex for rule http/server/latencypath/x: "));
}

#[test]
fn floats_are_printed_as_go_prints_them() {
    for (value, text) in [
        (0.0, "0"),
        (1.0, "1"),
        (12.65, "12.65"),
        (100_000.0, "100000"),
        (262_144.0, "262144"),
        (1_000_000.0, "1e+06"),
        (1_048_576.0, "1.048576e+06"),
        (4_294_967_296.0, "4.294967296e+09"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-2.5, "-2.5"),
        (f64::INFINITY, "+Inf"),
        (1.795_239_106_73e9, "1.79523910673e+09"),
    ] {
        assert_eq!(format_float(value), text);
    }
}

#[test]
fn size_bounds_are_labelled_in_go_style() {
    let r = registry(RegistryOptions::default());
    r.histogram("s", "S.", &[], &Buckets::new(SIZE_BUCKETS)).with(&[]).record(1024.0);
    let text = r.render();
    assert!(text.contains("le=\"1024\"} 0\n") && text.contains("le=\"1.048576e+06\"} 1\n"));
    assert!(text.contains("le=\"4.294967296e+09\"} 1\n"));
}

#[test]
fn the_process_is_described_where_the_system_tells() {
    let r = Registry::new(RegistryOptions::default()).unwrap();
    if cfg!(target_os = "linux") {
        let text = r.render();
        let rss = text.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap();
        assert!(rss.parse::<f64>().unwrap() > 100_000.0);
    }
}
