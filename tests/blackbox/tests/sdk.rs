//! Unmodified SDKs against one sidecar with a second one behind it; the
//! programs and what they check: `tests/sdk/README.md`.
#![forbid(unsafe_code)]

use dapr_blackbox::{
    FakeApp, Options, Request, Response, Scratch, Sidecar, free_port, respond, respond_json, sdk,
};
use serde_json::json;

const STATE: &str = r"
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: statestore}
spec:
  type: state.sqlite
  version: v1
  metadata: [{name: connectionString, value: 'FOLDER/state.db'}]
";
const PUBSUB: &str = r"
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
";
const FILES: &str = r"
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: files}
spec:
  type: bindings.localstorage
  version: v1
  metadata: [{name: rootPath, value: 'FOLDER/files'}]
";
const SECRETS: &str = r"
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: secrets}
spec:
  type: secretstores.local.file
  version: v1
  metadata:
  - {name: secretsFile, value: 'FOLDER/secrets.json'}
  - {name: nestedSeparator, value: '.'}
";

async fn second_app(request: Request, app_id: String) -> Response {
    if request.uri().path() != "/echo" {
        return respond(404, "");
    }
    respond_json(&json!({
        "app": app_id,
        "verb": request.method().as_str(),
        "query": request.uri().query().unwrap_or_default(),
        "body": String::from_utf8_lossy(request.body()),
    }))
}

/// One program with one protocol; `false` when the language is absent.
async fn run(language: &str, protocol: &str) -> bool {
    match sdk::prepare(language).await {
        sdk::Outcome::Skipped(reason) => {
            println!("SKIPPED {language}: {reason}");
            return false;
        }
        sdk::Outcome::Ran { success, output } => assert!(success, "cannot set up {language}:\n{output}"),
    }
    let scratch = Scratch::new(&format!("sdk-{language}-{protocol}"));
    let folder = scratch.path().to_str().expect("UTF-8").to_owned();
    scratch.write("secrets.json", r#"{"greeting": "hello", "nested": {"part": "inner"}}"#);
    let manifests = [STATE, PUBSUB, FILES, SECRETS].map(|manifest| manifest.replace("FOLDER", &folder));
    let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
    let resources = scratch.resources("resources", &manifests);

    // Other tests of this machine hear the same multicast: names nobody else has.
    let suffix = fastrand::u32(..);
    let (app_id, second_id) = (format!("sdk-{language}-{suffix}"), format!("second-{suffix}"));
    let id = second_id.clone();
    let app = FakeApp::start(move |request| second_app(request, id.clone())).await;
    let second = Sidecar::start(&scratch, Options::new(&second_id).app(app.port)).await;

    let app_port = free_port();
    let options = Options::new(&app_id).app_with_protocol(app_port, protocol).resources(resources);
    // The sidecar waits for the program's port, the program for the sidecar.
    let first = Sidecar::spawn(&scratch, options);
    let variables = [
        ("APP_ID", app_id),
        ("APP_PORT", app_port.to_string()),
        ("APP_PROTOCOL", protocol.to_owned()),
        ("SECOND_APP_ID", second_id),
        ("DAPR_HTTP_PORT", first.http_port.to_string()),
        ("DAPR_GRPC_PORT", first.grpc_port.to_string()),
    ];
    match sdk::run(language, &[], &variables).await {
        sdk::Outcome::Skipped(reason) => panic!("{language} was set up, yet: {reason}"),
        sdk::Outcome::Ran { success, output } => {
            println!("{output}");
            let log = if success { String::new() } else { first.process.tail() };
            assert!(success, "the {language} program failed over {protocol}:\n{output}\nsidecar:\n{log}");
            let passed = output.lines().filter(|line| line.starts_with("ok ")).count();
            assert!(passed >= 15, "the {language} program ran only {passed} checks:\n{output}");
        }
    }
    first.stop().await;
    second.stop().await;
    true
}

async fn run_all(language: &str, protocols: &[&str]) {
    for protocol in protocols {
        if !run(language, protocol).await {
            return;
        }
    }
}

#[tokio::test]
async fn python() {
    run_all("python", &["http", "grpc"]).await;
}

#[tokio::test]
async fn javascript() {
    run_all("javascript", &["http", "grpc"]).await;
}

#[tokio::test]
async fn go() {
    run_all("go", &["http", "grpc"]).await;
}

/// The Java SDK's core has no application server: the program answers HTTP
/// by itself and calls the sidecar over both protocols.
#[tokio::test]
async fn java() {
    run_all("java", &["http"]).await;
}
