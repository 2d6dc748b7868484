//! Service invocation (api.md §7) and paths that are nobody's.

use dapr_blackbox::{FakeApp, Options, Scratch, Sidecar, free_port, respond};
use dapr_wire::common::v1::{HttpExtension, InvokeRequest, http_extension::Verb};
use dapr_wire::runtime::v1 as rt;
use serde_json::{Value, json};

use crate::ask::{Ask, configuration};

fn invoke(id: &str, method: &str) -> rt::InvokeServiceRequest {
    let extension = HttpExtension { verb: Verb::Get.into(), querystring: String::new() };
    let message =
        InvokeRequest { method: method.into(), http_extension: Some(extension), ..InvokeRequest::default() };
    rt::InvokeServiceRequest { id: id.into(), message: Some(message) }
}

/// Names of this test only, in a file.
fn resolution(scratch: &Scratch) -> Value {
    let file = scratch.path().join("names.db");
    json!({"component": "sqlite", "version": "v1", "configuration": {"connectionString": file}})
}

#[tokio::test]
async fn nobody_there() {
    let scratch = Scratch::new("errors");
    let config = configuration(&scratch, &json!({"nameResolution": resolution(&scratch)}));
    let sidecar = Sidecar::start(&scratch, Options::new("errors").config(config)).await;
    let mut ask = Ask::new(&sidecar, "invocation");
    for (what, line) in [
        ("root", "GET /"),
        ("unknown path", "GET /nothing"),
        ("unknown version", "GET /v9.0/state/none/k"),
        ("wrong verb of health", "PUT /v1.0/healthz"),
        ("wrong verb of state", "PATCH /v1.0/state/none"),
        ("options", "OPTIONS /v1.0/state/none"),
        ("head", "HEAD /v1.0/metadata"),
        ("bad escape", "GET /v1.0/state/none/%zz"),
        ("nobody", "GET /v1.0/invoke/nobody/method/x"),
        ("nobody with a namespace", "GET /v1.0/invoke/nobody.there/method/x"),
        ("three parts", "GET /v1.0/invoke/a.b.c/method/x"),
        ("no method", "GET /v1.0/invoke/nobody/method/"),
        ("no ID", "GET /v1.0/invoke//method/x"),
        ("no app of its own", "GET /v1.0/invoke/errors/method/x"),
        ("question mark in the method", "GET /v1.0/invoke/nobody/method/a%3Fb"),
    ] {
        ask.http(what, line, "").await;
    }
    ask.http_with("by header", "GET /x", &[("dapr-app-id", "nobody")], "").await;
    ask.http_with("empty header", "GET /x", &[("dapr-app-id", "")], "").await;
    ask.http_with("by URL", "GET /v1.0/invoke/ftp%3A%2F%2Fexample.com/method/x", &[], "").await;
    ask.grpc("nobody", "InvokeService", &invoke("nobody", "x")).await;
    ask.grpc("no ID", "InvokeService", &invoke("", "x")).await;
    ask.grpc("no method", "InvokeService", &invoke("nobody", "")).await;
    ask.grpc("question mark in the method", "InvokeService", &invoke("nobody", "a?b")).await;
    ask.grpc("no message", "InvokeService", &rt::InvokeServiceRequest { id: "nobody".into(), message: None })
        .await;
    ask.grpc("no app of its own", "InvokeService", &invoke("errors", "x")).await;
    ask.grpc("proxy without a target", "/example.Service/Call", &()).await;
    let target = [("dapr-app-id", "nobody")];
    ask.grpc_with("proxy to nobody", "/example.Service/Call", &target, &()).await;
    let own = [("dapr-app-id", "errors")];
    ask.grpc_with("proxy to no app", "/example.Service/Call", &own, &()).await;
    ask.grpc("unknown method of the service", "NoSuchMethod", &()).await;
    ask.done();
    sidecar.stop().await;
}

/// What comes back from applications and their sidecars.
#[tokio::test]
async fn others_refuse() {
    let scratch = Scratch::new("errors");
    let app = FakeApp::start(|request| async move {
        match request.uri().path() {
            "/teapot" => respond(418, "short and stout"),
            "/long" => respond(500, "x".repeat(100)),
            _ => respond(404, ""),
        }
    })
    .await;
    let names = resolution(&scratch);
    let open = configuration(&scratch, &json!({"nameResolution": names}));
    let open = scratch.write("open.yaml", &std::fs::read_to_string(open).expect("just written"));
    let closed = configuration(
        &scratch,
        &json!({
            "nameResolution": names,
            "accessControl": {"defaultAction": "deny", "trustDomain": "public"},
        }),
    );
    let callee = Sidecar::start(&scratch, Options::new("callee").app(app.port).config(open.clone())).await;
    let guarded = Sidecar::start(&scratch, Options::new("guarded").app(app.port).config(closed)).await;
    let gone = free_port();
    let leaving = FakeApp::start(|_| async { respond(200, "") }).await;
    let orphan =
        Sidecar::start(&scratch, Options::new("orphan").app(leaving.port).config(open.clone())).await;
    let sidecar = Sidecar::start(&scratch, Options::new("errors").config(open)).await;
    let mut ask = Ask::new(&sidecar, "invocation-others");
    ask.mask_port(leaving.port, "PORT");
    drop(leaving);
    for (what, path) in [
        ("teapot", "callee/method/teapot"),
        ("not found", "callee/method/none"),
        ("denied", "guarded/method/vault"),
        ("app is gone", "orphan/method/x"),
    ] {
        ask.http(what, &format!("GET /v1.0/invoke/{path}"), "").await;
    }
    ask.grpc("teapot", "InvokeService", &invoke("callee", "teapot")).await;
    ask.grpc("long text", "InvokeService", &invoke("callee", "long")).await;
    ask.grpc("not found", "InvokeService", &invoke("callee", "none")).await;
    ask.grpc("denied", "InvokeService", &invoke("guarded", "vault")).await;
    ask.grpc("app is gone", "InvokeService", &invoke("orphan", "x")).await;
    ask.mask_port(gone, "GONE");
    let address = format!("http%3A%2F%2F127.0.0.1%3A{gone}");
    ask.http("URL that is gone", &format!("GET /v1.0/invoke/{address}/method/x"), "").await;
    ask.done();
    sidecar.stop().await;
    orphan.stop().await;
    guarded.stop().await;
    callee.stop().await;
}
