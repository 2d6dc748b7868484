use std::collections::HashMap;
use std::fs;

use super::*;
use crate::metadata::secret_refs;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn app(app_id: &str, namespace: Option<&str>) -> LoadContext {
    LoadContext { app_id: app_id.to_owned(), namespace_env: namespace.map(str::to_owned) }
}

fn component(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\n{rest}\nspec:\n  type: state.in-memory\n  version: v1\n"
    )
}

fn names<T: Resource>(loaded: &Loaded<T>) -> Vec<&str> {
    loaded.resources.iter().map(Resource::name).collect()
}

fn messages<T>(loaded: &Loaded<T>) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn files_are_read_in_order_and_other_kinds_are_ignored() {
    let first = Folder::new(&[
        ("b.yaml", &format!("---\n{}---\n{}", component("b1", ""), component("b2", ""))),
        ("a.YML", &component("a", "")),
        ("c.yml", "kind: Component\napiVersion: other/v1\nmetadata: {name: x}\n---\nkind: Thing\n"),
        ("readme.txt", "not yaml: ["),
    ]);
    fs::create_dir(first.file("sub.yaml")).unwrap();
    let second = Folder::new(&[("a.yaml", &component("z", ""))]);
    let loaded = load_components(&[first.path(), second.path()], &app("app", None)).unwrap();
    assert_eq!(names(&loaded), ["a", "b1", "b2", "z"]);
    assert_eq!(
        messages(&loaded),
        ["A non-YAML Component file readme.txt was detected, it will not be loaded"]
    );
    let source = &loaded.resources[2].source;
    assert_eq!((source.file.clone(), source.document, source.line), (first.file("b.yaml"), 1, 11));
}

#[test]
fn a_missing_folder_is_fatal() {
    let error = load_components(&["/nowhere/at/all".into()], &app("app", None)).unwrap_err();
    assert_eq!(error.to_string(), "open /nowhere/at/all: no such file or directory");
}

#[test]
fn malformed_documents_are_reported_and_others_load() {
    let text = format!("{}---\nkind: [\n---\n{}", component("a", ""), component("b", ""));
    let folder = Folder::new(&[("x.yaml", &text)]);
    let loaded = load_components(&[folder.path()], &app("app", None)).unwrap();
    assert_eq!(names(&loaded), ["a", "b"]);
    let [message] = &messages(&loaded)[..] else { panic!("{:?}", loaded.warnings) };
    let file = folder.file("x.yaml").display().to_string();
    let start = format!("daprd load Component error when parsing manifests yaml resource in {file}: ");
    assert!(message.starts_with(&start), "{message}");
    assert!(message.contains("error converting YAML to JSON: yaml: line 1"), "{message}");
}

#[test]
fn wrong_types_are_reported_with_field_and_line() {
    let text = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: a}\nspec:\n  type: [x]\n";
    let folder = Folder::new(&[("x.yaml", text)]);
    let loaded = load_components(&[folder.path()], &app("app", None)).unwrap();
    assert!(loaded.resources.is_empty());
    let message = &messages(&loaded)[0];
    assert!(
        message.contains(
            "cannot unmarshal array into Go struct field Component.spec.type of type string (line 5)"
        ),
        "{message}"
    );
}

#[test]
fn names_that_cannot_stand_in_a_path_are_refused() {
    let folder =
        Folder::new(&[("x.yaml", &format!("{}---\n{}", component("a/b%", ""), component("..", "")))]);
    let loaded = load_components(&[folder.path()], &app("app", None)).unwrap();
    assert!(loaded.resources.is_empty());
    let message = &messages(&loaded)[0];
    assert!(
        message.contains("invalid name \"a/b%\" for \"Component\": may not contain '/'; may not contain '%'"),
        "{message}"
    );
    assert!(message.contains("invalid name \"..\" for \"Component\": may not be '..'"), "{message}");
}

#[test]
fn lenient_scalars() {
    let text = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  NAME: no\nSpec:\n  Type: state.x\n  version: 1\n  metadata:\n  - {name: mode, value: 0644}\n";
    let folder = Folder::new(&[("x.yaml", text)]);
    let loaded = load_components(&[folder.path()], &app("app", None)).unwrap();
    let component = &loaded.resources[0];
    assert_eq!(component.log_name(), "false (state.x/1)");
    assert_eq!(component.metadata[0].value.text(), "420");
    assert!(secret_refs(&component.metadata).is_empty());
}

#[test]
fn duplicates_are_joined_with_newlines() {
    let other = component("foo", "").replace("state.in-memory", "secretstores.local.file");
    let folder = Folder::new(&[
        ("1.yaml", &other),
        ("2.yaml", &format!("{}---\n{}", component("foo", ""), component("foo", ""))),
    ]);
    let error = load_components(&[folder.path()], &app("app", None)).unwrap_err();
    let line = "duplicate definition of Component name foo (state.in-memory/v1) with existing foo (secretstores.local.file/v1)";
    assert_eq!(error.to_string(), format!("{line}\n{line}"));
}

#[test]
fn namespaces_count_when_the_process_has_one() {
    let text = [component("a", "  namespace: one"), component("a", "  namespace: two"), component("b", "")]
        .join("---\n");
    let folder = Folder::new(&[("x.yaml", &text)]);
    let load = |namespace| load_components(&[folder.path()], &app("app", namespace));
    let loaded = load(Some("two")).unwrap();
    assert_eq!(names(&loaded), ["a", "b"]);
    assert_eq!(loaded.resources[0].namespace, "two");
    assert!(load(None).is_err());
    assert!(load(Some("")).is_err());
    assert_eq!(names(&load(Some("three")).unwrap()), ["b"]);
}

#[test]
fn scopes_are_checked_after_duplicates() {
    let scoped = |name: &str| component(name, "") + "scopes: [other]\n";
    // Out of scope first: it does not claim the name.
    let folder = Folder::new(&[("x.yaml", &format!("{}---\n{}", scoped("a"), component("a", "")))]);
    let loaded = load_components(&[folder.path()], &app("app", None)).unwrap();
    assert_eq!(names(&loaded), ["a"]);
    // Out of scope second: it repeats a claimed name.
    let folder = Folder::new(&[("x.yaml", &format!("{}---\n{}", component("a", ""), scoped("a")))]);
    assert!(load_components(&[folder.path()], &app("app", None)).is_err());
    assert!(load_components(&[folder.path()], &app("other", None)).is_err());
}

#[test]
fn http_endpoints_and_raw_kinds() {
    let text = "
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: e}
spec:
  baseUrl: http://x
  headers: [{name: h, value: 1}, {name: s, secretKeyRef: {name: n, key: k}}]
  clientTLS: {rootCA: {secretKeyRef: {name: ca}}, certificate: {value: PEM}, renegotiation: Never}
auth: {secretStore: st}
---
apiVersion: dapr.io/v1alpha1
kind: MCPServer
metadata: {name: m}
spec: {endpoint: {sse: {url: http://m}}}
---
apiVersion: dapr.io/v1alpha1
kind: WorkflowAccessPolicy
metadata: {name: w}
spec: {rules: [{callers: [{appID: 5}]}]}
scopes: [app]
";
    let folder = Folder::new(&[("x.yaml", text)]);
    let files = ResourceFiles::read(&[folder.path()]).unwrap();
    let context = app("app", None);
    let endpoints = files.load::<HttpEndpoint>(&context).unwrap();
    let endpoint = &endpoints.resources[0];
    assert_eq!(endpoint.log_name(), "e (http://x)");
    assert_eq!(endpoint.secret_refs()[0].key, "k");
    let tls = endpoint.client_tls.as_ref().unwrap();
    assert_eq!(tls.root_ca.as_ref().unwrap().secret_key_ref.as_ref().unwrap().name, "ca");
    assert_eq!(tls.certificate.as_ref().unwrap().value.as_ref().unwrap().text(), "PEM");
    let servers = files.load::<McpServer>(&context).unwrap();
    assert_eq!(servers.resources[0].log_name(), "m (http://m)");
    let policies = files.load::<WorkflowAccessPolicy>(&context).unwrap();
    #[derive(serde::Deserialize)]
    struct Spec {
        rules: Vec<HashMap<String, Vec<HashMap<String, String>>>>,
    }
    let spec: Spec = policies.resources[0].decode_spec().unwrap();
    assert_eq!(spec.rules[0]["callers"][0]["appID"], "5");
    assert!(files.load::<WorkflowAccessPolicy>(&app("other", None)).unwrap().resources.is_empty());
}

#[test]
fn subscriptions_of_both_versions_in_order() {
    let old = "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: s}\nspec: {pubsubname: p, topic: 1, route: /old, metadata: {a: 1}, bulkSubscribe: {enabled: on, maxMessagesCount: 5, maxAwaitDurationMs: 40}}\nscopes: [other]\n";
    let new = "apiVersion: dapr.io/v2alpha1\nkind: Subscription\nmetadata: {name: s, namespace: ns}\nspec: {pubsubname: p, topic: t, deadLetterTopic: d, routes: {rules: [{match: 'event.type == \"a\"', path: /a}], default: /new}}\n";
    let first = Folder::new(&[("1.yaml", &format!("{new}---\n{old}")), ("2.yaml", old)]);
    let second = Folder::new(&[("1.yaml", new)]);
    let loaded = load_subscriptions(&[first.path(), second.path()]).unwrap();
    let routes: Vec<_> = loaded.resources.iter().map(|s| s.routes.default.as_str()).collect();
    assert_eq!(routes, ["/new", "/old", "/old", "/new"]);
    let converted = &loaded.resources[1];
    assert_eq!((converted.topic.as_str(), converted.metadata["a"].as_str()), ("1", "1"));
    assert!(converted.bulk_subscribe.enabled);
    assert_eq!(converted.bulk_subscribe.max_await_duration_ms, 40);
    assert!(!converted.is_scoped_to("app"));
    assert_eq!(loaded.resources[0].routes.rules[0].matches, "event.type == \"a\"");
    assert_eq!(loaded.resources[0].dead_letter_topic, "d");
}

const RESILIENCY: &str = "
kind: Resiliency
metadata: {name: r}
spec:
  policies:
    timeouts: {general: 5s, fast: 100}
    retries: {a: {policy: exponential, maxInterval: 15s, maxRetries: -1, matching: {gRPCStatusCodes: 4, httpStatusCodes: '500-599'}}}
    circuitBreakers: {b: {maxRequests: 2, interval: 8s, timeout: 45s, trip: consecutiveFailures > 8}}
  targets:
    apps: {x: {timeout: general, retry: a, circuitBreaker: b, circuitBreakerCacheSize: 50}}
    actors: {act: {circuitBreakerScope: both}}
    components: {z: {inbound: {retry: a}, outbound: {timeout: fast}}}
";

#[test]
fn resiliency_has_its_own_reader() {
    let folder = Folder::new(&[
        ("1.yaml", &format!("{RESILIENCY}---\n{RESILIENCY}")),
        ("2.yaml", "kind: Resiliency\nmetadata: {name: other}\nscopes: [other]\n"),
        ("3.yaml", "kind: Component\n---\nkind: Resiliency\n"),
        ("4.yaml", "kind: ["),
        ("5.yaml", "kind: Resiliency\nspec: {policies: 5}\n"),
        ("6.txt", ""),
    ]);
    let loaded = load_resiliency(&["/nowhere/at/all".into(), folder.path()], "app");
    assert_eq!(names(&loaded), ["r"]);
    let r = &loaded.resources[0];
    assert_eq!(r.policies.timeouts["fast"], "100");
    let retry = &r.policies.retries["a"];
    assert_eq!(retry.max_retries, Some(-1));
    assert_eq!(retry.matching.as_ref().unwrap().grpc_status_codes, "4");
    assert_eq!(r.policies.circuit_breakers["b"].max_requests, 2);
    assert_eq!(r.targets.apps["x"].circuit_breaker_cache_size, 50);
    assert_eq!(r.targets.actors["act"].circuit_breaker_scope, "both");
    assert_eq!(r.targets.components["z"].outbound.timeout, "fast");
    let found = messages(&loaded);
    assert!(found[0].starts_with("Could not determine resource type: 4.yaml: yaml: line "), "{found:?}");
    assert!(found[1].starts_with("Could not parse resiliency file 5.yaml: "), "{found:?}");
    assert_eq!(found[2], "A non-YAML resiliency file 6.txt was detected, it will not be loaded");
    assert_eq!(
        loaded.warnings.iter().map(|w| w.level).collect::<Vec<_>>(),
        [Level::Error, Level::Error, Level::Warning]
    );
}

#[test]
fn configuration_from_files() {
    let folder = Folder::new(&[
        (
            "1.yaml",
            "spec:\n  tracing: {samplingRate: \"$RATE\"}\n  features: [{name: A, enabled: true}]\n---\nspec: {wasm: {strictSandbox: true}}\n",
        ),
        ("2.yaml", "spec: {features: [{name: B, enabled: true}], tracing: {stdout: ${FLAG}}}\n"),
        ("empty.yaml", "# nothing\n"),
    ]);
    let env = HashMap::from([("RATE", "0.5"), ("FLAG", "true")]);
    let paths = ["1.yaml", "2.yaml", "empty.yaml"].map(|name| folder.file(name));
    let c = load_configuration(&paths, &env).unwrap();
    assert_eq!(c.tracing.sampling_rate, "0.5");
    assert!(c.tracing.stdout && !c.wasm.strict_sandbox);
    assert!(c.enabled_features().contains("B") && !c.enabled_features().contains("A"));
    assert_eq!(load_configuration(&[], &env).unwrap(), crate::Configuration::default());
}

#[test]
fn bad_configuration_names_the_file() {
    let folder = Folder::new(&[
        ("syntax.yaml", "spec:\n  a: [1\n b: 2\n"),
        ("type.yaml", "spec:\n  wasm: {strictSandbox: 5}\n"),
        ("twice.yaml", "spec:\n  wasm:\n    strictSandbox: true\n    strictSandbox: false\n"),
        ("scope.yaml", "spec: {secrets: {scopes: [{storeName: s, defaultAccess: x}]}}\n"),
    ]);
    let env = HashMap::new();
    let failure = |name: &str| {
        let message = load_configuration(&[folder.file(name)], &env).unwrap_err().to_string();
        let file = folder.file(name).display().to_string();
        assert!(message.contains(&file), "{message}");
        message
    };
    assert!(failure("syntax.yaml").contains("yaml: line "));
    assert!(failure("type.yaml").contains("line 2: cannot unmarshal !!int `5` into bool"));
    assert!(failure("twice.yaml").contains("mapping key \"strictSandbox\" already defined at line 3"));
    assert!(failure("scope.yaml").contains("defaultAccess x can be either allow or deny"));
    let missing = load_configuration(&["/nowhere/c.yaml".into()], &env).unwrap_err();
    assert_eq!(missing.to_string(), "stat /nowhere/c.yaml: no such file or directory");
}
