//! Settings of components, resource files, JSON bodies.

use dapr_components::Properties;
use dapr_gocompat::json;
use dapr_resources::resiliency::Resiliency;
use dapr_resources::template::TemplateContext;
use dapr_resources::yaml::{Dialect, parse_first_at, split_documents};
use dapr_resources::{
    Component, Configuration, HttpEndpoint, McpServer, Resource, Source, Subscription, WorkflowAccessPolicy,
};

use super::{Target, texts};

pub const PROPERTIES: Target = Target {
    name: "properties",
    run: properties,
    seeds: || {
        texts(&[
            "redisHost=localhost:6379\nmaxRetries=3\nttl=1h30m\nlist=a, b,,c\nsize=10Mi",
            "ENABLED=yes\nenabledToo=off\ntimeout=500\nbackOff=1.5s\nbytes=1e3",
            "a=true\nA=false",
        ])
    },
    words: &["=", "\n", "µs", "ns", "h", "Ki", "Ei", "e+", ".", "-", "+", "true", "0x"],
};

fn properties(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let items: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let Ok(properties) = Properties::new(items.iter().copied()) else { return };
    for (name, value) in items {
        assert_eq!(properties.get(name), Some(value), "{name:?}");
        let _ = (properties.truthy(name), properties.list(name), properties.byte_size(name));
        let _ = (properties.duration(name), properties.integer::<i64>(name), properties.integer::<u8>(name));
        let _ = (properties.legacy_bool(name), properties.legacy_duration(name));
    }
}

pub const RESOURCES: Target = Target {
    name: "resources",
    run: resources,
    seeds: || {
        texts(&[
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: 123, namespace: ns}\nspec:\n  type: state.redis\n  version: v1\n  ignoreErrors: on\n  initTimeout: 1m\n  metadata:\n  - {name: redisHost, value: 'localhost:6379'}\n  - {name: redisDB, value: 0644}\n  - {name: list, value: [1, x]}\n  - {name: password, secretKeyRef: {name: redis, key: pw}}\n  - {name: id, value: '{namespace}-{uuid}'}\nauth:\n  secretStore: vault\nscopes: [app1, 2]\n",
            "kind: Subscription\napiVersion: dapr.io/v2alpha1\nmetadata:\n  name: sub\nspec:\n  topic: orders\n  routes:\n    rules:\n    - {match: event.type == 'a', path: /a}\n    default: /b\n  pubsubname: pubsub\n  bulkSubscribe: {enabled: true, maxMessagesCount: 10}\n---\nkind: Component\n",
            "kind: Resiliency\nspec:\n  policies:\n    timeouts: {short: 1s}\n    retries: {r: {policy: exponential, maxInterval: 15s, maxRetries: -1, matching: {httpStatusCodes: '500-599,429'}}}\n    circuitBreakers: {cb: {maxRequests: 1, timeout: 45s, trip: consecutiveFailures > 8}}\n  targets:\n    apps: {a: {timeout: short, retry: r, circuitBreaker: cb}}\n    components: {c: {outbound: {retry: r}}}\n",
            "kind: Configuration\nspec:\n  tracing: {samplingRate: \"0.5\", otel: {endpointAddress: 'x:1'}}\n  mtls: {enabled: true, workloadCertTTL: 1h}\n  accessControl:\n    defaultAction: deny\n    policies:\n    - {appId: a, trustDomain: public, namespace: ns, operations: [{name: /op, httpVerb: ['*'], action: allow}]}\n  features: [{name: X, enabled: true}]\n",
            "a: &x [1, 2]\nb: *x\n<<: {c: !!str 1}\nd: |\n  text\n   more\ne: >-\n  folded\nf: \"\\u263a\\x41\"\n",
        ])
    },
    words: &[
        "---\n",
        "...\n",
        "&a ",
        "*a",
        "<<: ",
        "!!binary ",
        "!!str ",
        "[",
        "{",
        "- ",
        "? ",
        ": ",
        "|",
        ">-",
        "\t",
        "'",
        "#",
        "%YAML 1.1\n",
        "0x1F",
        "0o17",
        "1_000",
        "190:20:30",
        ".inf",
        "~",
        "yes",
        "2001-12-14t21:59:43.10-05:00",
    ],
};

fn resources(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let context = TemplateContext {
        app_id: "app".to_owned(),
        namespace: "default".to_owned(),
        pod_name: None,
        strict_sandbox: false,
    };
    for chunk in split_documents(&text) {
        let Ok(Some(node)) = parse_first_at(chunk.text, chunk.line) else { continue };
        let _ = node.to_json(Dialect::Configuration);
        if let Ok(json) = node.to_json(Dialect::Resource) {
            let _ = Configuration::from_json(&json);
        }
        let source = Source::default;
        if let Ok(component) = Component::from_node(&node, source()) {
            let _ = (component.init_timeout_or_default(), component.secret_refs(), component.log_name());
            if let Ok(properties) = component.properties(&context) {
                let _ = Properties::new(properties);
            }
        }
        let _ = (Subscription::from_node(&node, source()), Resiliency::from_node(&node, source()));
        let _ = (HttpEndpoint::from_node(&node, source()), McpServer::from_node(&node, source()));
        let _ = WorkflowAccessPolicy::from_node(&node, source());
    }
}

pub const JSON: Target = Target {
    name: "json",
    run: json_bodies,
    seeds: || {
        texts(&[
            r#"{"key":"a","value":{"n":1.50,"big":12345678901234567890,"e":1e21},"list":[true,false,null,"\u00e4<\ud83d\ude00"]}"#,
            r#"[{"key":"1","value":"x","etag":"2","metadata":{"ttlInSeconds":"1"}}]"#,
            "  \"text\\n\\t\\u2028\"  {\"second\":1}",
            "-0.0",
        ])
    },
    words: &["[", "{", "{\"a\":", "\\ud800", "\\u0000", "\"", ",", ":", "1e400", "null", "-", "\u{feff}"],
};

fn json_bodies(input: &[u8]) {
    if let Ok(value) = json::decode_whole(input) {
        let text = json::to_go_json(&value);
        let again = json::decode_whole(&text).expect("what was written can be read");
        assert_eq!(json::to_go_json(&again), text, "written twice");
    }
    if let Ok((_, end)) = json::decode_first(input) {
        assert!(end <= input.len());
    }
    if let Ok(text) = json::normalize(input) {
        assert_eq!(json::normalize(&text).expect("it is JSON"), text, "normalised twice");
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let mut out = b"before".to_vec();
        let read = json::Normalizer::default().append(text, &mut out);
        let tree = json::decode_first(input).map(|(value, end)| (json::to_go_json(&value), end));
        match (read, tree) {
            (Ok(read), Ok((wanted, end))) => {
                assert_eq!((&out[6..], read), (&wanted[..], end), "text to text and over a tree");
            }
            (read, tree) => assert!(read.is_err() && tree.is_err() && out == b"before", "{read:?} {tree:?}"),
        }
    }
    if let Ok(text) = json::compact(input) {
        assert_eq!(json::compact(&text).expect("it is JSON"), text, "compacted twice");
    }
}
