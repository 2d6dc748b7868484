//! Who may call: tokens, allowed and denied APIs, origins.

use std::sync::Arc;

use dapr_blackbox::{FakeApp, Options, Scratch, Sidecar, component, respond};
use dapr_wire::runtime::v1 as rt;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;

use crate::ask::{Ask, configuration};

fn get(store: &str) -> rt::GetStateRequest {
    rt::GetStateRequest { store_name: store.into(), key: "k".into(), ..Default::default() }
}

#[tokio::test]
async fn api_token() {
    let scratch = Scratch::new("errors");
    let options = Options::new("errors").env("DAPR_API_TOKEN", "sesame").flag("--allowed-origins=*");
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "token");
    let (right, wrong) = ([("dapr-api-token", "sesame")], [("dapr-api-token", "Sesame")]);
    ask.http("health", "GET /v1.0/healthz", "").await;
    ask.http("outbound health", "GET /v1.0/healthz/outbound", "").await;
    ask.http("no token", "GET /v1.0/state/none/k", "").await;
    ask.http("no token, no route", "GET /nothing", "").await;
    ask.http("no token, other verb", "POST /v1.0/healthz", "").await;
    ask.http_with("wrong", "GET /v1.0/state/none/k", &wrong, "").await;
    ask.http_with("empty", "GET /v1.0/state/none/k", &[("dapr-api-token", "")], "").await;
    ask.http_with("right", "GET /v1.0/state/none/k", &right, "").await;
    let preflight = [("origin", "http://a.example"), ("access-control-request-method", "GET")];
    ask.http_with("preflight", "OPTIONS /v1.0/state/none/k", &preflight, "").await;
    ask.grpc("no token", "GetState", &get("none")).await;
    ask.grpc_with("wrong", "GetState", &wrong, &get("none")).await;
    ask.grpc_with("empty", "GetState", &[("dapr-api-token", "")], &get("none")).await;
    ask.grpc_with("right", "GetState", &right, &get("none")).await;
    ask.grpc("proxy without a token", "/example.Service/Call", &()).await;
    ask.grpc_with("proxy", "/example.Service/Call", &right, &()).await;
    ask.grpc("reflection", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &()).await;
    ask.done();
    sidecar.stop().await;
}

async fn listed(file: &'static str, api: &serde_json::Value) {
    let scratch = Scratch::new("errors");
    let config = configuration(&scratch, &json!({"api": api}));
    let sidecar = Sidecar::start(&scratch, Options::new("errors").config(config)).await;
    let mut ask = Ask::new(&sidecar, file);
    for (what, line) in [
        ("health", "GET /v1.0/healthz"),
        ("state", "GET /v1.0/state/none/k"),
        ("state alpha", "POST /v1.0-alpha1/state/none/query"),
        ("publish", "POST /v1.0/publish/none/t"),
        ("secrets", "GET /v1.0/secrets/none/k"),
        ("invoke", "GET /v1.0/invoke/errors/method/x"),
        ("nothing", "GET /nothing"),
        ("shutdown by the wrong verb", "GET /v1.0/shutdown"),
    ] {
        ask.http(what, line, "").await;
    }
    ask.grpc("state", "GetState", &get("none")).await;
    ask.grpc("state alpha", "QueryStateAlpha1", &get("none")).await;
    ask.grpc("publish", "PublishEvent", &rt::PublishEventRequest::default()).await;
    ask.grpc("secret", "GetSecret", &rt::GetSecretRequest::default()).await;
    ask.grpc("invoke", "InvokeService", &rt::InvokeServiceRequest::default()).await;
    ask.grpc("proxy", "/example.Service/Call", &()).await;
    ask.grpc("unknown method", "NoSuchMethod", &()).await;
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn allowed_apis() {
    let rule =
        |version: &str, protocol: &str| json!({"name": "state", "version": version, "protocol": protocol});
    listed("allowed", &json!({"allowed": [rule("v1.0", "http"), rule("v1", "grpc")]})).await;
}

#[tokio::test]
async fn denied_apis() {
    let rule = |name: &str, protocol: &str| json!({"name": name, "version": "v1", "protocol": protocol});
    let denied =
        [rule("state", "HTTP"), rule("invoke", "http"), rule("state", "grpc"), rule("secrets", "GRPC")];
    listed("denied", &json!({"denied": denied})).await;
}

#[tokio::test]
async fn origins() {
    const NAMES: [&str; 6] = [
        "vary",
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-allow-credentials",
        "access-control-max-age",
    ];
    for (file, flag) in [
        ("origins-none", None),
        ("origins-all", Some("*")),
        ("origins-one", Some("http://a.example,http://b.example")),
    ] {
        let scratch = Scratch::new("errors");
        let mut options = Options::new("errors");
        options.flags.extend(flag.map(|origins| format!("--allowed-origins={origins}")));
        let sidecar = Sidecar::start(&scratch, options).await;
        let mut ask = Ask::new(&sidecar, file);
        let (a, c) = (("origin", "http://a.example"), ("origin", "http://c.example"));
        let method = ("access-control-request-method", "POST");
        let header = ("access-control-request-headers", "x-one, x-two");
        for (what, verb, headers) in [
            ("plain", Method::GET, vec![]),
            ("known origin", Method::GET, vec![a]),
            ("unknown origin", Method::GET, vec![c]),
            ("preflight", Method::OPTIONS, vec![a, method]),
            ("preflight with headers", Method::OPTIONS, vec![a, method, header]),
            ("preflight of a stranger", Method::OPTIONS, vec![c, method]),
            (
                "preflight of an odd method",
                Method::OPTIONS,
                vec![a, ("access-control-request-method", "BREW")],
            ),
            ("options without a method", Method::OPTIONS, vec![a]),
        ] {
            let answer = sidecar.client.send(verb, "/v1.0/metadata", &headers, "").await;
            let mut text = answer.status.as_u16().to_string();
            for name in NAMES {
                for value in answer.headers.get_all(name) {
                    text.push_str(&format!("\n{name}: {}", value.to_str().expect("text")));
                }
            }
            ask.compare("http", what, &text);
        }
        ask.done();
        sidecar.stop().await;
    }
}

/// The application's token goes along with what it is called for.
#[tokio::test]
async fn app_token() {
    let scratch = Scratch::new("errors");
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let seen = tokens.clone();
    let app = FakeApp::start(move |request| {
        let token = request.headers().get_all("dapr-api-token").iter();
        let token: Vec<_> = token.map(|t| t.to_str().expect("text").to_owned()).collect();
        let path = request.uri().path().to_owned();
        seen.lock().push(format!("{path} {token:?}"));
        async move {
            match path.as_str() {
                "/dapr/subscribe" => {
                    respond(200, r#"[{"pubsubname": "bus", "topic": "t", "route": "/event"}]"#)
                }
                _ => respond(200, ""),
            }
        }
    })
    .await;
    let resources = scratch.resources("resources", &[&component("bus", "pubsub.in-memory", &json!({}))]);
    let options = Options::new("errors").app(app.port).resources(resources);
    let options = options.env("APP_API_TOKEN", "app-token").env("DAPR_API_TOKEN", "sesame");
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "app-token");
    let token = [("dapr-api-token", "sesame"), ("content-type", "application/json")];
    ask.http_with("invoke", "GET /v1.0/invoke/errors/method/called", &token, "").await;
    ask.http_with("publish", "POST /v1.0/publish/bus/t", &token, "{}").await;
    dapr_blackbox::eventually("the event arrives", dapr_blackbox::START_TIMEOUT, || async {
        let seen = tokens.lock();
        if seen.iter().any(|line| line.starts_with("/event")) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let mut lines = tokens.lock().clone();
    lines.sort();
    lines.dedup();
    ask.compare("app", "calls", &lines.join("\n"));
    ask.done();
    sidecar.stop().await;
}
