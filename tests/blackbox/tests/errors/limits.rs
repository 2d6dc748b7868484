//! How large a request may be, and Unix sockets instead of ports.

use std::path::Path;

use bytes::Bytes;
use dapr_blackbox::{
    FakeApp, Options, Redis, Scratch, Sidecar, ask_grpc, ask_grpc_over, component, free_port, grpc_frame,
    respond, try_grpc,
};
use dapr_wire::common::v1::{InvokeRequest, StateItem};
use dapr_wire::internals::v1::InternalInvokeRequest;
use dapr_wire::runtime::v1 as rt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost::Message;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::ask::{Ask, status_text};

#[tokio::test]
async fn bodies() {
    let scratch = Scratch::new("errors");
    let app = FakeApp::start(|_| async { respond(200, "") }).await;
    let server = Redis::start().await;
    let keys = scratch.path().join("keys");
    std::fs::create_dir(&keys).expect("folder");
    std::fs::write(keys.join("raw"), [5; 32]).expect("key");
    let manifests = [
        component("mem", "state.in-memory", &json!({})),
        component("bus", "pubsub.in-memory", &json!({})),
        component("locks", "lock.redis", &json!({"redisHost": server.address()})),
        component("keys", "crypto.dapr.localstorage", &json!({"path": keys})),
        component("echo", "conversation.echo", &json!({})),
        component("files", "bindings.localstorage", &json!({"rootPath": scratch.path()})),
    ];
    let manifests: Vec<_> = manifests.iter().map(String::as_str).collect();
    let options = Options::new("errors").app(app.port).resources(scratch.resources("resources", &manifests));
    let sidecar = Sidecar::start(&scratch, options.flag("--max-body-size=2Ki")).await;
    let mut ask = Ask::new(&sidecar, "bodies");
    let long = "x".repeat(4096);
    let lock = json!({"resourceId": long, "lockOwner": "o", "expiryInSeconds": 5}).to_string();
    let operation = json!({"operation": "upsert", "request": {"key": "k", "value": long}});
    let entry = json!({"entryId": "1", "event": long, "contentType": "text/plain"});
    for (what, line, body) in [
        ("save", "POST /v1.0/state/mem", json!([{"key": "k", "value": long}]).to_string()),
        ("bulk get", "POST /v1.0/state/mem/bulk", json!({"keys": [long]}).to_string()),
        ("transaction", "POST /v1.0/state/mem/transaction", json!({"operations": [operation]}).to_string()),
        ("query", "POST /v1.0-alpha1/state/mem/query", long.clone()),
        ("publish", "POST /v1.0/publish/bus/t", json!(long).to_string()),
        ("bulk publish", "POST /v1.0/publish/bulk/bus/t", json!([entry]).to_string()),
        ("binding", "POST /v1.0/bindings/files", json!({"operation": "create", "data": long}).to_string()),
        ("metadata", "PUT /v1.0/metadata/k", long.clone()),
        ("lock", "POST /v1.0-alpha1/lock/locks", lock),
        (
            "conversation",
            "POST /v1.0-alpha1/conversation/echo/converse",
            json!({"inputs": [{"content": long}]}).to_string(),
        ),
        ("nothing that reads it", "POST /nothing", long.clone()),
        ("secret that reads nothing", "GET /v1.0/secrets/none/k", long.clone()),
    ] {
        ask.http(what, line, body).await;
    }
    let headers = [("dapr-key-name", "raw"), ("dapr-key-wrap-algorithm", "aes")];
    ask.http_with("encrypt", "PUT /v1.0-alpha1/crypto/keys/encrypt", &headers, long.clone()).await;
    // Which names ports.
    let answer = sidecar.client.post("/v1.0/invoke/errors/method/x", &json!(long)).await.expect(500);
    assert_eq!(answer.json()["errorCode"], "ERR_DIRECT_INVOKE", "{}", answer.text());
    assert!(answer.text().contains("stream too large"), "{}", answer.text());
    let item = StateItem { key: "k".into(), value: Bytes::from(long.clone()), ..StateItem::default() };
    let save = rt::SaveStateRequest { store_name: "mem".into(), states: vec![item] };
    ask.grpc("save", "SaveState", &save).await;
    let invoke = rt::SetMetadataRequest { key: "k".into(), value: long };
    ask.grpc("proxy", "/example.Service/Call", &invoke).await;
    ask.done();
    sidecar.stop().await;
    drop(server);
}

#[tokio::test]
async fn headers() {
    let scratch = Scratch::new("errors");
    let sidecar = Sidecar::start(&scratch, Options::new("errors").flag("--read-buffer-size=1Ki")).await;
    let mut ask = Ask::new(&sidecar, "headers");
    let (fits, long) = ("x".repeat(4096), "x".repeat(20_000));
    ask.http_with("that fit", "GET /v1.0/healthz", &[("x-long", fits.as_str())], "").await;
    ask.http_with("too long", "GET /v1.0/healthz", &[("x-long", long.as_str())], "").await;
    ask.http("line that is too long", &format!("GET /v1.0/state/none/{long}"), "").await;
    ask.grpc_with("that fit", "GetState", &[("x-long", long.as_str())], &rt::GetStateRequest::default())
        .await;
    ask.done();
    sidecar.stop().await;
}

async fn over_socket(socket: &Path, path: &str) -> String {
    let stream = UnixStream::connect(socket).await.expect("the socket");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let mut serving = JoinSet::new();
    serving.spawn(connection);
    let request = http::Request::get(path).header("host", "localhost").body(Full::<Bytes>::default());
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn unix_sockets() {
    let scratch = Scratch::new("errors");
    let folder = scratch.path().to_path_buf();
    let options = Options::new("errors").flag(format!("--unix-domain-socket={}", folder.display()));
    let sidecar = Sidecar::spawn(&scratch, options);
    let (http, grpc) = (folder.join("dapr-errors-http.socket"), folder.join("dapr-errors-grpc.socket"));
    dapr_blackbox::eventually("the socket is there", dapr_blackbox::START_TIMEOUT, || async {
        if !http.exists() {
            return Err(sidecar.process.tail());
        }
        match over_socket(&http, "/v1.0/healthz").await {
            answer if answer.starts_with("204") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let mut ask = Ask::new(&sidecar, "sockets");
    ask.compare("http", "state", &over_socket(&http, "/v1.0/state/none/k").await);
    let message = rt::GetStateRequest { store_name: "none".into(), key: "k".into(), ..Default::default() };
    let stream = UnixStream::connect(&grpc).await.expect("the socket");
    let frames = grpc_frame(&message.encode_to_vec());
    let answer = ask_grpc_over(stream, "/dapr.proto.runtime.v1.Dapr/GetState", &[], frames).await;
    ask.compare("grpc", "state", &status_text(&answer));
    let refused = sidecar.client.try_send(http::Method::GET, "/v1.0/healthz", &[], "").await.is_err();
    ask.compare("http", "port", if refused { "refused" } else { "open" });
    ask.done();
    sidecar.stop().await;
    assert!(!http.exists() && !grpc.exists(), "the sockets are still there");
}

/// What a call with a header of this length leads to, in one word.
async fn with_header(port: u16, path: &str, message: &impl Message, length: usize) -> &'static str {
    let long = "x".repeat(length);
    let frames = grpc_frame(&message.encode_to_vec());
    match try_grpc(port, path, &[("x-long", &long)], frames).await {
        Ok(answer) if answer.code().is_some() => "answered",
        // A response of the HTTP layer, or the end of the stream.
        Ok(_) | Err(_) => "refused",
    }
}

/// The port between sidecars: sizes, and that it takes no token.
#[tokio::test]
async fn grpc_ports() {
    const CALL_LOCAL: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal";
    const GET_STATE: &str = "/dapr.proto.runtime.v1.Dapr/GetState";
    let scratch = Scratch::new("errors");
    let internal = free_port();
    let options = Options::new("errors").env("DAPR_API_TOKEN", "sesame");
    let options = options.flag(format!("--dapr-internal-grpc-port={internal}"));
    let options = options.flag("--read-buffer-size=64").flag("--max-body-size=2Ki");
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "grpc-ports");
    let get = rt::GetStateRequest::default();
    let call = |data: usize| InternalInvokeRequest {
        ver: 1,
        message: Some(InvokeRequest {
            method: "m".into(),
            data: Some(prost_types::Any { value: vec![b'x'; data], ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    // The flag times 1024 is the limit.
    for (what, length) in [("header that fits", 50_000), ("header that is too long", 100_000)] {
        let answered = with_header(sidecar.grpc_port, GET_STATE, &get, length).await;
        ask.compare("api", what, answered);
        let answered = with_header(internal, CALL_LOCAL, &call(1), length).await;
        ask.compare("internal", what, answered);
    }
    for (what, size) in [("no token, no application", 1), ("message that is too large", 4096)] {
        let frames = grpc_frame(&call(size).encode_to_vec());
        let answer = ask_grpc(internal, CALL_LOCAL, &[], frames).await;
        ask.compare("internal", what, &status_text(&answer));
    }
    let answer = ask_grpc(internal, GET_STATE, &[], grpc_frame(&get.encode_to_vec())).await;
    ask.compare("internal", "a method of the API", &status_text(&answer));
    let answer = ask_grpc(internal, "/example.Service/Call", &[], grpc_frame(&[])).await;
    ask.compare("internal", "proxy without a target", &status_text(&answer));
    ask.done();
    sidecar.stop().await;
}
