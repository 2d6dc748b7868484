//! What a user may get wrong: every answer names the resource and the reason.
#![forbid(unsafe_code)]

use std::time::Duration;

use dapr_blackbox::{
    Options, Scratch, Sidecar, component, component_document, eventually, free_port, taken_port,
};
use http::Method;
use serde_json::json;

/// A sidecar with `flags` and one manifest that cannot start: its output.
async fn refused(manifest: &str, flags: &[String]) -> String {
    let scratch = Scratch::new("bad-input");
    let mut options = Options::new("bad-input").resources(scratch.resources("resources", &[manifest]));
    options.flags = flags.to_vec();
    Sidecar::spawn(&scratch, options).failed().await
}

/// A line about a fatal error that has all of `needles`.
fn assert_fatal(output: &str, needles: &[&str]) {
    let fatal = output
        .lines()
        .any(|line| line.contains("level=fatal") && needles.iter().all(|needle| line.contains(needle)));
    assert!(fatal, "no fatal line with {needles:?} in:\n{output}");
}

#[tokio::test]
async fn unknown_component_type() {
    let output = refused(&component("orders-db", "state.nosuch", &json!({})), &[]).await;
    assert_fatal(&output, &["orders-db", "state.nosuch/v1", "couldn't find state store state.nosuch/v1"]);
}

#[tokio::test]
async fn missing_component_metadata() {
    let output = refused(&component("orders-db", "state.sqlite", &json!({})), &[]).await;
    assert_fatal(&output, &["orders-db", "state.sqlite/v1", "missing connection string"]);
}

#[tokio::test]
async fn broker_down_at_start() {
    let host = format!("127.0.0.1:{}", free_port());
    let output = refused(&component("orders-bus", "pubsub.redis", &json!({"redisHost": host})), &[]).await;
    assert_fatal(&output, &["orders-bus", "pubsub.redis/v1", &host, "refused"]);
}

#[tokio::test]
async fn port_in_use() {
    let (port, _listener) = taken_port();
    let output = refused("", &[format!("--dapr-http-port={port}")]).await;
    assert_fatal(&output, &["could not listen on any endpoint"]);
    assert!(output.contains(&port.to_string()), "the port is not named in:\n{output}");
}

#[tokio::test]
async fn unknown_flag() {
    let output = refused("", &["--no-such-flag=1".into()]).await;
    assert!(output.contains("no-such-flag"), "{output}");
}

#[tokio::test]
async fn invalid_app_protocol() {
    let output = refused("", &["--app-protocol=carrier-pigeon".into()]).await;
    assert!(output.contains("carrier-pigeon"), "{output}");
}

/// A manifest that is not YAML is skipped with a warning that names the file;
/// the sidecar runs with the others.
#[tokio::test]
async fn malformed_yaml() {
    let scratch = Scratch::new("bad-input");
    let broken = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: orders-db\n spec: [\n";
    let sound = component("store", "state.in-memory", &json!({}));
    let resources = scratch.resources("resources", &[broken, &sound]);
    let sidecar = Sidecar::start(&scratch, Options::new("bad-input").resources(&resources)).await;
    sidecar.client.post("/v1.0/state/store", &json!([{"key": "k", "value": 1}])).await.expect(204);
    let file = resources.join("0.yaml");
    let output = sidecar.process.output();
    let named = output
        .lines()
        .any(|line| line.contains("level=warning") && line.contains(file.to_str().expect("UTF-8")));
    assert!(named, "no warning about {} in:\n{output}", file.display());
    sidecar.stop().await;
}

/// A component that says so does not stop the sidecar, and a call to it names it.
#[tokio::test]
async fn component_that_may_fail() {
    let scratch = Scratch::new("bad-input");
    let mut manifest = component_document("orders-db", "state.nosuch", &json!({}));
    manifest["spec"]["ignoreErrors"] = json!(true);
    let sound = component("store", "state.in-memory", &json!({}));
    let resources = scratch.resources("resources", &[&manifest.to_string(), &sound]);
    let sidecar = Sidecar::start(&scratch, Options::new("bad-input").resources(resources)).await;
    let answer = sidecar.client.get("/v1.0/state/orders-db/k").await.expect(400);
    assert!(answer.text().contains("orders-db"), "{}", answer.text());
    sidecar.stop().await;
}

struct Case {
    what: &'static str,
    method: Method,
    path: &'static str,
    body: &'static str,
    status: u16,
    /// Expected in `errorCode`.
    code: &'static str,
    /// Expected in `message`.
    message: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        what: "save: not JSON",
        method: Method::POST,
        path: "/v1.0/state/store",
        body: "{not json",
        status: 400,
        code: "ERR_MALFORMED_REQUEST",
        message: &["invalid character 'n'"],
    },
    Case {
        what: "save: key with the separator",
        method: Method::POST,
        path: "/v1.0/state/store",
        body: r#"[{"key": "a||b", "value": 1}]"#,
        status: 400,
        code: "ERR_MALFORMED_REQUEST",
        message: &["a||b", "can't contain '||'"],
    },
    Case {
        what: "get: key with the separator",
        method: Method::GET,
        path: "/v1.0/state/store/a%7C%7Cb",
        body: "",
        status: 400,
        code: "ERR_MALFORMED_REQUEST",
        message: &["a||b", "can't contain '||'"],
    },
    Case {
        what: "transaction: unknown operation",
        method: Method::POST,
        path: "/v1.0/state/store/transaction",
        body: r#"{"operations": [{"operation": "swap", "request": {"key": "a"}}]}"#,
        status: 400,
        code: "ERR_NOT_SUPPORTED_STATE_OPERATION",
        message: &["swap"],
    },
    Case {
        what: "state store that is not there",
        method: Method::GET,
        path: "/v1.0/state/no-such-store/k",
        body: "",
        status: 400,
        code: "ERR_STATE_STORE_NOT_FOUND",
        message: &["no-such-store"],
    },
    Case {
        what: "pubsub that is not there",
        method: Method::POST,
        path: "/v1.0/publish/no-such-bus/orders",
        body: "{}",
        status: 404,
        code: "ERR_PUBSUB_NOT_FOUND",
        message: &["no-such-bus"],
    },
    Case {
        what: "publish: no topic, which is the path of nothing",
        method: Method::POST,
        path: "/v1.0/publish/bus/",
        body: "{}",
        status: 404,
        code: "ERR_DIRECT_INVOKE",
        message: &["failed getting app id"],
    },
    Case {
        what: "binding that is not there",
        method: Method::POST,
        path: "/v1.0/bindings/no-such-binding",
        body: r#"{"operation": "create"}"#,
        status: 500,
        code: "ERR_INVOKE_OUTPUT_BINDING",
        message: &["no-such-binding"],
    },
    Case {
        what: "binding: not JSON",
        method: Method::POST,
        path: "/v1.0/bindings/no-such-binding",
        body: "{not json",
        status: 400,
        code: "ERR_MALFORMED_REQUEST",
        message: &["deserializ"],
    },
    Case {
        what: "secret store that is not there",
        method: Method::GET,
        path: "/v1.0/secrets/no-such-store/k",
        body: "",
        status: 500,
        code: "ERR_SECRET_STORES_NOT_CONFIGURED",
        message: &["secret"],
    },
];

#[tokio::test]
async fn requests() {
    let scratch = Scratch::new("bad-input");
    let manifests =
        [component("store", "state.in-memory", &json!({})), component("bus", "pubsub.in-memory", &json!({}))];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1]]);
    let sidecar = Sidecar::start(&scratch, Options::new("bad-input").resources(resources)).await;
    let mut wrong = Vec::new();
    for case in CASES {
        let json = [("content-type", "application/json")];
        let answer = sidecar.client.send(case.method.clone(), case.path, &json, case.body).await;
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = error["message"].as_str().unwrap_or_default();
        let right = answer.status == case.status
            && error["errorCode"] == case.code
            && case.message.iter().all(|part| message.contains(part));
        if !right {
            wrong.push(format!("{}: {} {}", case.what, answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "unexpected answers:\n{}", wrong.join("\n"));
    sidecar.stop().await;
}

#[tokio::test]
async fn over_long_body() {
    let scratch = Scratch::new("bad-input");
    let resources = scratch.resources("resources", &[&component("store", "state.in-memory", &json!({}))]);
    let options = Options::new("bad-input").resources(resources).flag("--max-body-size=1Ki");
    let sidecar = Sidecar::start(&scratch, options).await;
    let large = json!([{"key": "k", "value": "x".repeat(4096)}]);
    let answer = sidecar.client.post("/v1.0/state/store", &large).await;
    assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.text());
    assert!(answer.text().contains("too large"), "{}", answer.text());
    sidecar.client.get("/v1.0/state/store/k").await.expect(204);
    sidecar.stop().await;
}

/// A client that says nothing, or half of something, holds up nobody else.
#[tokio::test]
async fn half_a_request() {
    use tokio::io::AsyncWriteExt;
    let scratch = Scratch::new("bad-input");
    let sidecar = Sidecar::start(&scratch, Options::new("bad-input")).await;
    let mut silent = Vec::new();
    for start in
        ["", "POST /v1.0/state/store HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{", "\0\0garbage"]
    {
        let mut stream =
            tokio::net::TcpStream::connect(("127.0.0.1", sidecar.http_port)).await.expect("listens");
        stream.write_all(start.as_bytes()).await.expect("open");
        silent.push(stream);
    }
    eventually("others are served", Duration::from_secs(10), || async {
        let answer = sidecar.client.try_send(Method::GET, "/v1.0/healthz", &[], "").await;
        match answer {
            Ok(answer) if answer.status == 204 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    drop(silent);
    sidecar.stop().await;
}
