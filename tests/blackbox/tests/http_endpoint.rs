//! Calls of external services: HTTPEndpoint resources and URLs.
#![forbid(unsafe_code)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use dapr_blackbox::{
    Answer, Chunks, Client, FakeApp, Options, Request, Response, Scratch, Sidecar, eventually, free_port,
    respond, respond_json, respond_stream,
};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call too many gets to show itself.
const PATIENCE: Duration = Duration::from_millis(500);
/// `--app-max-concurrency` of these tests.
const LIMIT: usize = 2;

fn endpoint(name: &str, url: &str) -> String {
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "HTTPEndpoint",
        "metadata": {"name": name},
        "spec": {"baseUrl": url, "headers": [{"name": "x-own", "value": "of the resource"}]},
    })
    .to_string()
}

/// The URL of a target as one segment of a path.
fn segment(url: &str) -> String {
    url.replace(':', "%3A").replace('/', "%2F")
}

/// A service that sends callers on: `/api/to/<status>?<location>`, and
/// `/api/hops/<n>` to `n` further places. Everything else tells what it got.
fn roundabout(request: &Request) -> Response {
    let path = request.uri().path();
    let redirect = |status: u16, location: &str| {
        let mut response = respond(status, "go on");
        response.headers_mut().insert("location", location.parse().expect("a header value"));
        response
    };
    if let Some(status) = path.strip_prefix("/api/to/") {
        return redirect(status.parse().expect("a status"), request.uri().query().unwrap_or_default());
    }
    if let Some(hops) = path.strip_prefix("/api/hops/") {
        match hops.parse::<u32>().expect("a number") {
            0 => {}
            // Relative to where it is.
            hops => return redirect(302, &(hops - 1).to_string()),
        }
    }
    let headers = request.headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    respond_json(&json!({
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map(|p| p.as_str()),
        "body": String::from_utf8_lossy(request.body()),
        "type": header("content-type"),
        "host": header("host"),
        "referer": header("referer"),
        "authorization": header("authorization"),
        "cookie": header("cookie"),
        "own": header("x-own"),
        "mine": header("x-mine"),
    }))
}

struct Redirects {
    client: Client,
    /// What stands before the method.
    target: String,
    here: String,
}

impl Redirects {
    async fn call(&self, verb: Method, method: &str, body: &'static str) -> Answer {
        let headers = [
            ("x-mine", "of the caller"),
            ("authorization", "secret"),
            ("cookie", "crumbs"),
            ("content-type", "text/plain"),
        ];
        let headers = if body.is_empty() { &headers[..3] } else { &headers };
        let path = format!("/v1.0/invoke/{}/method/{method}", self.target);
        self.client.send(verb, &path, headers, body).await
    }

    /// What the place behind a redirect got.
    async fn arrived(&self, verb: Method, method: &str, body: &'static str) -> Value {
        self.call(verb, method, body).await.expect(200).json()
    }

    async fn verbs_change_as_with_a_browser(&self) {
        for status in [301, 302, 303] {
            for (verb, body, becomes) in
                [(Method::GET, "", "GET"), (Method::POST, "text", "GET"), (Method::PUT, "text", "GET")]
            {
                let got = self.arrived(verb, &format!("to/{status}?/api/there%3Fx=1"), body).await;
                let expected = json!({
                    "method": becomes,
                    "path": "/api/there%3Fx=1",
                    "body": "",
                    "type": null,
                    "host": self.here,
                    "referer": format!("http://{}/api/to/{status}?/api/there%3Fx=1", self.here),
                    "authorization": "secret",
                    "cookie": "crumbs",
                    "own": "of the resource",
                    "mine": "of the caller",
                });
                assert_eq!(got, expected, "{status}");
            }
            let answer = self.call(Method::HEAD, &format!("to/{status}?/api/there"), "").await.expect(200);
            assert_eq!(answer.text(), "");
        }
    }

    /// A body that was sent is gone: the caller has to repeat the request.
    async fn a_request_to_repeat_is_the_callers(&self) {
        for status in [307, 308] {
            let answer = self.call(Method::POST, &format!("to/{status}?/api/there"), "text").await;
            let answer = answer.expect(status);
            assert_eq!(
                (answer.text().as_str(), answer.headers["location"].as_bytes()),
                ("go on", b"/api/there".as_slice())
            );
        }
    }

    /// Neither is an answer that only looks like a redirect followed.
    async fn other_answers_are_the_callers(&self) {
        for status in [300, 305] {
            self.call(Method::GET, &format!("to/{status}?/api/there"), "").await.expect(status);
        }
        self.call(Method::GET, "to/302", "").await.expect(302);
    }

    async fn failure(&self, verb: Method, method: &str) -> String {
        let error = self.call(verb, method, "").await.expect(500).json();
        assert_eq!(error["errorCode"], "ERR_DIRECT_INVOKE");
        let text = error["message"].as_str().expect("text");
        let reason = text.strip_prefix("failed to invoke, id: roundabout, err: ");
        reason.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    async fn the_tenth_is_too_many(&self) {
        let got = self.arrived(Method::GET, "hops/9", "").await;
        assert_eq!(got["path"], "/api/hops/0");
        let reason = self.failure(Method::POST, "hops/10").await;
        assert_eq!(reason, r#"Post "0": stopped after 10 redirects"#);
    }

    async fn secrets_stay_with_their_host(&self, port: u16) {
        let got = self.arrived(Method::GET, &format!("to/302?http://127.0.0.1:{port}/else"), "").await;
        assert_eq!(
            (&got["host"], &got["authorization"]),
            (&json!(format!("127.0.0.1:{port}")), &json!("secret"))
        );
        let got = self.arrived(Method::GET, &format!("to/302?http://localhost:{port}/else"), "").await;
        assert_eq!(got["host"], format!("localhost:{port}"));
        assert_eq!((&got["authorization"], &got["cookie"]), (&Value::Null, &Value::Null));
        // What the resource adds is no secret to the sidecar.
        assert_eq!((&got["own"], &got["mine"]), (&json!("of the resource"), &json!("of the caller")));
    }

    async fn what_cannot_be_followed_is_an_error(&self) {
        let gone = free_port();
        for (location, reason) in [
            ("ftp://127.0.0.1/x".to_owned(), r#"unsupported protocol scheme "ftp""#.to_owned()),
            (
                format!("http://127.0.0.1:{gone}/x"),
                format!("dial tcp 127.0.0.1:{gone}: connect: connection refused"),
            ),
        ] {
            let error = self.failure(Method::GET, &format!("to/302?{location}")).await;
            assert_eq!(error, format!("Get {location:?}: {reason}"));
        }
    }
}

#[tokio::test]
async fn redirects_of_an_endpoint_are_followed() {
    let scratch = Scratch::new("http-endpoint");
    let app = FakeApp::start(|request| async move { roundabout(&request) }).await;
    let elsewhere = FakeApp::start(|request| async move { roundabout(&request) }).await;
    let here = format!("127.0.0.1:{}", app.port);
    let manifest = endpoint("roundabout", &format!("http://{here}/api"));
    let options = Options::new("caller").resources(scratch.resources("resources", &[&manifest]));
    let sidecar = Sidecar::start(&scratch, options).await;
    let redirects = Redirects { client: sidecar.client.clone(), target: "roundabout".into(), here };
    redirects.verbs_change_as_with_a_browser().await;
    redirects.a_request_to_repeat_is_the_callers().await;
    redirects.other_answers_are_the_callers().await;
    redirects.the_tenth_is_too_many().await;
    redirects.secrets_stay_with_their_host(elsewhere.port).await;
    redirects.what_cannot_be_followed_is_an_error().await;
    sidecar.stop().await;
}

#[tokio::test]
async fn redirects_of_a_url_are_the_callers() {
    let scratch = Scratch::new("http-endpoint");
    let app = FakeApp::start(|request| async move { roundabout(&request) }).await;
    let sidecar = Sidecar::start(&scratch, Options::new("caller")).await;
    let path = format!("/v1.0/invoke/{}/method/api", segment(&format!("http://127.0.0.1:{}", app.port)));
    for status in [301, 302, 303, 307, 308] {
        let answer = sidecar.client.get(&format!("{path}/to/{status}?/api/there")).await.expect(status);
        assert_eq!(
            (answer.text().as_str(), answer.headers["location"].as_bytes()),
            ("go on", b"/api/there".as_slice())
        );
    }
    sidecar.stop().await;
}

/// Calls by their last segment whose answers have begun and not ended.
type Open = Arc<Mutex<HashMap<String, Vec<Chunks>>>>;

fn begun(open: &Open, most: &Mutex<usize>, request: &Request) -> Response {
    let kind = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let (chunks, response) = respond_stream();
    let mut open = open.lock();
    let calls = open.entry(kind).or_default();
    calls.push(chunks);
    let mut most = most.lock();
    *most = calls.len().max(*most);
    response
}

/// Each endpoint has the limit of the application for itself, all URLs share
/// one; a call counts until its answer was read.
#[tokio::test]
async fn calls_at_once_are_limited_per_endpoint() {
    const CALLS: usize = 5;
    let scratch = Scratch::new("http-endpoint");
    let (open, most) = (Open::default(), Arc::new(Mutex::new(0)));
    let (begun_calls, most_calls) = (open.clone(), most.clone());
    let app = FakeApp::start(move |request| {
        let response = begun(&begun_calls, &most_calls, &request);
        async { response }
    })
    .await;
    let (base, other) = (format!("http://127.0.0.1:{}", app.port), format!("http://localhost:{}", app.port));
    let manifests = [endpoint("one", &base), endpoint("two", &base)];
    let options = Options::new("caller")
        .resources(scratch.resources("resources", &[&manifests[0], &manifests[1]]))
        .flag(format!("--app-max-concurrency={LIMIT}"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut calls = JoinSet::new();
    let targets = [("one", "one".to_owned()), ("two", "two".to_owned())];
    let urls = [("url", segment(&base)), ("url", segment(&other))];
    for (kind, target) in targets.into_iter().chain(urls) {
        for _ in 0..CALLS {
            let (client, path) = (sidecar.client.clone(), format!("/v1.0/invoke/{target}/method/{kind}"));
            calls.spawn(async move { client.get(&path).await });
        }
    }
    // A call is let go for each that has begun, until all have been.
    let mut answered = 0;
    for (kind, total) in [("one", CALLS), ("two", CALLS), ("url", 2 * CALLS)] {
        for done in 0..total {
            let expected = LIMIT.min(total - done);
            let chunks = eventually("as many calls as may be are made", CALL_TIMEOUT, || async {
                let mut open = open.lock();
                let calls = open.entry(kind.to_owned()).or_default();
                if calls.len() == expected { Ok(calls.remove(0)) } else { Err(format!("{}", calls.len())) }
            });
            if done == 0 {
                tokio::time::sleep(PATIENCE).await;
            }
            chunks.await.send(Bytes::from("done")).await.expect("the sidecar reads");
            calls.join_next().await.expect("a call").expect("an answer").expect(200);
            answered += 1;
        }
    }
    assert_eq!((answered, *most.lock()), (4 * CALLS, LIMIT));
    sidecar.stop().await;
}
