//! Service invocation from one sidecar's HTTP API to an application behind
//! another sidecar, found by multicast DNS and by the SQLite resolver.
#![forbid(unsafe_code)]

use std::time::Duration;

use bytes::Bytes;
use dapr_blackbox::{
    Chunks, FakeApp, Options, Process, Request, Response, SQLITE_RESOLVER, Scratch, Sentry, Sidecar,
    eventually, respond, respond_json, respond_stream,
};
use http::Method;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use tokio::time::timeout;

const FIND_TIMEOUT: Duration = Duration::from_secs(30);
const CHUNK_TIMEOUT: Duration = Duration::from_secs(20);

type OpenStream = Arc<Mutex<Option<Chunks>>>;

fn callee(request: Request, stream: &OpenStream) -> Response {
    match request.uri().path() {
        "/teapot" => {
            let mut response = respond(418, "short and stout");
            response.headers_mut().insert("x-pot", "tea".parse().expect("valid"));
            response
        }
        "/length" => respond(200, request.body().len().to_string()),
        "/stream" => {
            let (chunks, response) = respond_stream();
            *stream.lock() = Some(chunks);
            response
        }
        path => respond_json(&json!({
            "method": request.method().as_str(),
            "path": path,
            "query": request.uri().query(),
            "header": request.headers().get("x-mine").and_then(|value| value.to_str().ok()),
            "caller": request.headers().get("dapr-caller-app-id").and_then(|value| value.to_str().ok()),
            "body": String::from_utf8_lossy(request.body()),
        })),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Security {
    None,
    MutualTls,
}

struct Pair {
    caller: Sidecar,
    callee: Sidecar,
    caller_id: String,
    /// Path prefix under which the callee's methods are.
    to: String,
    stream: OpenStream,
    _app: FakeApp,
    _authority: Option<Process>,
    _scratch: Scratch,
}

impl Pair {
    async fn start(configuration: Option<&str>, security: Security) -> Self {
        let scratch = Scratch::new("invocation");
        let suffix = fastrand::u32(..);
        let (caller_id, callee_id) = (format!("caller-{suffix}"), format!("callee-{suffix}"));
        let folder = scratch.path().to_str().expect("UTF-8");
        let config = configuration.map(|text| scratch.write("config.yaml", &text.replace("FOLDER", folder)));
        let sentry = (security == Security::MutualTls).then(|| Sentry::new(&scratch));
        let authority = match &sentry {
            Some(sentry) => Some(sentry.ready().await),
            None => None,
        };
        let with_config = |options: Options| {
            let options = match &config {
                Some(file) => options.config(file),
                None => options,
            };
            match &sentry {
                Some(sentry) => sentry.secure(options),
                None => options,
            }
        };
        let stream = OpenStream::default();
        let handler_stream = stream.clone();
        let app = FakeApp::start(move |request| {
            let response = callee(request, &handler_stream);
            async { response }
        })
        .await;
        let callee = Sidecar::start(&scratch, with_config(Options::new(&callee_id).app(app.port))).await;
        let caller = Sidecar::start(&scratch, with_config(Options::new(&caller_id))).await;
        let to = format!("/v1.0/invoke/{callee_id}/method");
        Self { caller, callee, caller_id, to, stream, _app: app, _authority: authority, _scratch: scratch }
    }

    async fn found(&self) {
        eventually("the other sidecar is found", FIND_TIMEOUT, || async {
            let answer = self.caller.client.get(&format!("{}/echo", self.to)).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
    }

    async fn stop(self) {
        self.caller.stop().await;
        self.callee.stop().await;
    }
}

async fn everything_passes(pair: &Pair) {
    let Pair { caller, to, .. } = pair;
    let headers = [("x-mine", "yes"), ("content-type", "text/plain")];
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let body = if method == Method::GET { "" } else { "hello" };
        let path = format!("{to}/deep/er%20path?a=b&c=%2F");
        let answer = caller.client.send(method.clone(), &path, &headers, body).await.expect(200);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(
            answer.json(),
            json!({
                "method": method.as_str(),
                "path": "/deep/er%20path",
                "query": "a=b&c=%2F",
                "header": "yes",
                "caller": pair.caller_id,
                "body": body,
            })
        );
    }
    let answer = caller.client.get(&format!("{to}/teapot")).await.expect(418);
    assert_eq!(
        (answer.text().as_str(), &answer.headers["x-pot"]),
        ("short and stout", &"tea".parse().unwrap())
    );
    let large = vec![b'x'; 3 << 20];
    let answer = caller.client.send(Method::POST, &format!("{to}/length"), &[], large).await.expect(200);
    assert_eq!(answer.text(), (3 << 20).to_string());
}

/// The first chunk arrives while the application still holds back the second.
async fn a_streaming_body_is_not_gathered(pair: &Pair) {
    let path = format!("{}/stream", pair.to);
    // A sidecar may hold back the head of the response until the first chunk: both at once.
    let first_chunk = async {
        let chunks = eventually("the application is called", CHUNK_TIMEOUT, || async {
            pair.stream.lock().take().ok_or("not yet")
        })
        .await;
        chunks.send(Bytes::from("first ")).await.expect("the sidecar reads");
        chunks
    };
    let response = timeout(CHUNK_TIMEOUT, pair.caller.client.open(Method::GET, &path, &[], ""));
    let (response, chunks) = tokio::join!(response, first_chunk);
    let response = response.expect("the first chunk is enough").expect("an answer");
    let mut body = response.into_body();
    let mut read = async || {
        let frame = timeout(CHUNK_TIMEOUT, body.frame()).await.expect("a sent chunk arrives");
        frame.map(|frame| frame.expect("no error").into_data().expect("data"))
    };
    assert_eq!(read().await.as_deref(), Some(b"first ".as_slice()));
    chunks.send(Bytes::from("second ")).await.expect("the sidecar reads");
    assert_eq!(read().await.as_deref(), Some(b"second ".as_slice()));
    drop(chunks);
    assert_eq!(read().await, None);
}

async fn pair_works(configuration: Option<&str>, security: Security) {
    let pair = Pair::start(configuration, security).await;
    pair.found().await;
    everything_passes(&pair).await;
    a_streaming_body_is_not_gathered(&pair).await;
    pair.stop().await;
}

#[tokio::test]
async fn sidecars_find_each_other_by_multicast_dns() {
    pair_works(None, Security::None).await;
}

#[tokio::test]
async fn sidecars_find_each_other_by_sqlite_name_resolution() {
    pair_works(Some(SQLITE_RESOLVER), Security::None).await;
}

#[tokio::test]
async fn mutual_tls_changes_nothing_for_the_applications() {
    pair_works(Some(SQLITE_RESOLVER), Security::MutualTls).await;
}

#[tokio::test]
async fn an_application_nobody_knows_is_named_in_the_error() {
    let pair = Pair::start(Some(SQLITE_RESOLVER), Security::None).await;
    let answer = pair.caller.client.get("/v1.0/invoke/nobody-here/method/x").await.expect(500);
    let error = answer.json();
    assert_eq!(error["errorCode"], "ERR_DIRECT_INVOKE");
    assert!(error["message"].as_str().expect("text").contains("nobody-here"), "{error}");
    pair.stop().await;
}

/// The application behind the callee goes away and comes back: calls fail
/// with an answer, never hang, and work again.
#[tokio::test]
async fn a_callee_killed_and_restarted_is_found_again() {
    let pair = Pair::start(Some(SQLITE_RESOLVER), Security::None).await;
    pair.found().await;
    let Pair { caller, mut callee, to, _app: app, _scratch: scratch, .. } = pair;
    callee.process.kill().await;
    let answer = caller.client.get(&format!("{to}/echo")).await;
    assert!(answer.status.is_server_error(), "{} {}", answer.status, answer.text());
    let callee_id = to.split('/').nth(3).expect("an ID").to_owned();
    let options = Options::new(callee_id).app(app.port).config(scratch.path().join("config.yaml"));
    let callee = Sidecar::start(&scratch, options).await;
    eventually("the restarted sidecar is found", FIND_TIMEOUT, || async {
        let answer = caller.client.get(&format!("{to}/echo")).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    caller.stop().await;
    callee.stop().await;
}
