//! The configuration API over HTTP and gRPC, with SQLite and Redis.
#![forbid(unsafe_code)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_blackbox::{Client, FakeApp, Options, Redis, Scratch, Sidecar, call_grpc, component, respond};
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
const GET: &str = "/dapr.proto.runtime.v1.Dapr/GetConfiguration";
const SUBSCRIBE: &str = "/dapr.proto.runtime.v1.Dapr/SubscribeConfiguration";
const UNSUBSCRIBE: &str = "/dapr.proto.runtime.v1.Dapr/UnsubscribeConfiguration";

/// `GetConfigurationRequest` and `SubscribeConfigurationRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    store_name: String,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
}

/// `UnsubscribeConfigurationRequest`.
#[derive(Clone, PartialEq, Message)]
struct Unsubscribe {
    #[prost(string, tag = "1")]
    store_name: String,
    #[prost(string, tag = "2")]
    id: String,
}

fn request(store: &str, keys: &[&str]) -> Vec<u8> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Request { store_name: store.to_owned(), keys }.encode_to_vec()
}

/// An application that hands over every call it gets.
async fn listener() -> (FakeApp, mpsc::Receiver<(String, Value)>) {
    let (sender, calls) = mpsc::channel(64);
    let app = FakeApp::start(move |request| {
        let sender = sender.clone();
        async move {
            let path = request.uri().path().to_owned();
            if path.starts_with("/configuration/") {
                let body: Value = serde_json::from_slice(request.body()).expect("JSON");
                let _ = sender.send((path, body)).await;
            }
            respond(200, "")
        }
    })
    .await;
    (app, calls)
}

/// Runs `sql` as another program would.
async fn sqlite(file: &str, sql: &str) {
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],timeout=20); c.executescript(sys.argv[2]); c.commit()";
    let done = Command::new("python3").args(["-c", script, file, sql]).stdin(Stdio::null()).output().await;
    let done = done.expect("python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn next(calls: &mut mpsc::Receiver<(String, Value)>) -> (String, Value) {
    timeout(LIMIT, calls.recv()).await.expect("an update comes").expect("the application runs")
}

/// Everything about one item that a caller can do over HTTP.
async fn walk(client: &Client, calls: &mut mpsc::Receiver<(String, Value)>, write: impl AsyncFn(&str)) {
    assert_eq!(client.get("/v1.0/configuration/conf?key=colour").await.expect(204).text(), "");
    write("blue").await;
    let answer = client.get("/v1.0-alpha1/configuration/conf?key=colour&key=none").await.expect(200);
    assert_eq!(answer.text(), "{\"colour\":{\"value\":\"blue\",\"version\":\"1\"}}\n");
    assert_eq!(client.get("/v1.0/configuration/conf").await.expect(200).json().as_object().unwrap().len(), 1);

    let answer = client.get("/v1.0/configuration/conf/subscribe?key=colour").await.expect(200).json();
    let id = answer["id"].as_str().expect("an id").to_owned();
    write("green").await;
    let (path, event) = next(calls).await;
    assert_eq!(path, "/configuration/conf/colour");
    assert_eq!(event, json!({"id": id, "items": {"colour": {"value": "green", "version": "1"}}}));

    let unsubscribe = format!("/v1.0/configuration/conf/{id}/unsubscribe");
    assert_eq!(client.get(&unsubscribe).await.expect(200).text(), "{\"ok\":true}\n");
    write("red").await;
    assert!(timeout(Duration::from_millis(500), calls.recv()).await.is_err(), "nothing after the end");
    let answer = client.get(&unsubscribe).await.expect(500);
    let text = format!(
        "failed to unsubscribe to configuration request {id}: subscription with id {id} does not exist"
    );
    assert_eq!(answer.json(), json!({"message": text}));
}

#[tokio::test]
async fn items_and_updates_on_sqlite() {
    let scratch = Scratch::new("configuration-sqlite");
    let file = scratch.path().join("conf.db").to_str().expect("UTF-8").to_owned();
    let resources = scratch.resources(
        "resources",
        &[&component("conf", "configuration.sqlite", &json!({"connectionString": file}))],
    );
    let (app, mut calls) = listener().await;
    let sidecar =
        Sidecar::start(&scratch, Options::new("conf-sqlite").app(app.port).resources(resources)).await;
    let write = async |value: &str| {
        let sql = format!(
            "INSERT OR REPLACE INTO configuration (key, value, version) VALUES ('colour', '{value}', '1')"
        );
        sqlite(&file, &sql).await;
    };
    walk(&sidecar.client, &mut calls, write).await;

    let id = sidecar.client.get("/v1.0/configuration/conf/subscribe").await.expect(200).json()["id"].clone();
    sqlite(&file, "DELETE FROM configuration").await;
    let (_, event) = next(&mut calls).await;
    assert_eq!(event, json!({"id": id, "items": {"colour": {}}}), "a deleted item is empty");
    let metadata = sidecar.client.get("/v1.0/metadata").await.expect(200).json();
    let shown = json!({"name": "conf", "type": "configuration.sqlite", "version": "v1", "capabilities": []});
    assert_eq!(metadata["components"][0]["name"], shown["name"], "{metadata}");
    sidecar.stop().await;
}

#[tokio::test]
async fn items_and_updates_on_redis() {
    let scratch = Scratch::new("configuration-redis");
    let redis = Redis::start().await;
    let address = redis.address();
    let resources = scratch
        .resources("resources", &[&component("conf", "configuration.redis", &json!({"redisHost": address}))]);
    let (app, mut calls) = listener().await;
    let sidecar =
        Sidecar::start(&scratch, Options::new("conf-redis").app(app.port).resources(resources)).await;
    let port = redis.port().to_string();
    let write = async |value: &str| {
        let stored = format!("{value}||1");
        let done = Command::new("redis-cli").args(["-p", &port, "SET", "colour", &stored]).output().await;
        assert!(done.expect("redis-cli").status.success());
    };
    walk(&sidecar.client, &mut calls, write).await;
    sidecar.stop().await;
}

#[tokio::test]
async fn a_stream_over_grpc() {
    let scratch = Scratch::new("configuration-grpc");
    let file = scratch.path().join("conf.db").to_str().expect("UTF-8").to_owned();
    let resources = scratch.resources(
        "resources",
        &[&component("conf", "configuration.sqlite", &json!({"connectionString": file}))],
    );
    let sidecar = Sidecar::start(&scratch, Options::new("conf-grpc").resources(resources)).await;
    let port = sidecar.grpc_port;
    let frames: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let (opened, ended) = stream::open(port, SUBSCRIBE, &request("conf", &["b", "a"]), frames.clone()).await;
    assert_eq!(opened, 200);
    let first = stream::nth(&frames, 0).await;
    let id = stream::text_field(&first, 1);
    assert_eq!(id.len(), 36, "the first message has only the id: {first:?}");
    sqlite(&file, "INSERT INTO configuration (key, value) VALUES ('a', 'x'), ('other', 'y')").await;
    let update = String::from_utf8_lossy(&stream::nth(&frames, 1).await).into_owned();
    assert!(update.contains(&id) && update.contains('x') && !update.contains("other"), "{update:?}");

    let end = Unsubscribe { store_name: "conf".to_owned(), id: id.clone() }.encode_to_vec();
    let (headers, status) = call_grpc(port, UNSUBSCRIBE, &[], &end).await;
    assert_eq!(status, "0", "{headers:?}");
    assert_eq!(timeout(LIMIT, ended).await.expect("the stream ends").expect("a status"), "0");

    // Without an application there is nobody to call.
    let answer = sidecar.client.get("/v1.0/configuration/conf/subscribe").await.expect(500).json();
    assert_eq!(answer["errorCode"], "ERR_APP_CHANNEL_NIL");

    // The sidecar ends the streams that are open.
    let (_, ended) = stream::open(port, SUBSCRIBE, &request("conf", &[]), frames).await;
    sidecar.stop().await;
    assert_eq!(timeout(LIMIT, ended).await.expect("the stream ends").expect("a status"), "0");
}

#[tokio::test]
async fn refusals() {
    let scratch = Scratch::new("configuration-refusals");
    let none = Sidecar::start(&scratch, Options::new("conf-none")).await;
    let case = async |sidecar: &Sidecar, path: &str, status: u16, code: &str, message: &str| {
        let answer = sidecar.client.get(path).await.expect(status).json();
        assert_eq!(answer, json!({"errorCode": code, "message": message}), "{path}");
    };
    for path in ["", "/subscribe", "/some-id/unsubscribe"] {
        let path = format!("/v1.0/configuration/conf{path}");
        let code = "ERR_CONFIGURATION_STORE_NOT_CONFIGURED";
        case(&none, &path, 500, code, "configuration stores not configured").await;
    }
    let status = call_grpc(none.grpc_port, GET, &[], &request("conf", &[])).await.1;
    assert_eq!(status, "9", "FailedPrecondition");
    none.stop().await;

    let file = scratch.path().join("conf.db").to_str().expect("UTF-8").to_owned();
    let resources = scratch.resources(
        "resources",
        &[&component("conf", "configuration.sqlite", &json!({"connectionString": file}))],
    );
    let some = Sidecar::start(&scratch, Options::new("conf-some").resources(resources)).await;
    let code = "ERR_CONFIGURATION_STORE_NOT_FOUND";
    case(&some, "/v1.0/configuration/other?key=a", 400, code, "configuration store other not found").await;
    for path in [GET, SUBSCRIBE] {
        let status = call_grpc(some.grpc_port, path, &[], &request("other", &[])).await.1;
        assert_eq!(status, "3", "InvalidArgument");
    }
    sqlite(&file, "ALTER TABLE configuration RENAME TO gone").await;
    let message = "failed to get [a b] from Configuration store conf: no such table: configuration";
    let answer = some.client.get("/v1.0/configuration/conf?key=a&key=b").await.expect(500).json();
    assert_eq!(answer["errorCode"], "ERR_CONFIGURATION_GET");
    assert!(answer["message"].as_str().expect("text").starts_with(message), "{answer}");
    let status = call_grpc(some.grpc_port, GET, &[], &request("conf", &["a"])).await.1;
    assert_eq!(status, "13", "Internal");
    some.stop().await;
}

/// A gRPC call whose answer is read message by message.
mod stream {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    /// Status of the answer; the messages appear in `frames`, and at the end
    /// the gRPC status.
    pub async fn open(
        port: u16,
        path: &str,
        message: &[u8],
        frames: Arc<Mutex<Vec<Bytes>>>,
    ) -> (u16, oneshot::Receiver<String>) {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the gRPC port answers");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .expect("HTTP/2");
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
        body.extend(message);
        let request = http::Request::post(format!("http://127.0.0.1:{port}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let response =
            timeout(LIMIT, sender.send_request(request)).await.expect("in time").expect("an answer");
        let status = response.status().as_u16();
        let (end, ended) = oneshot::channel();
        driver.spawn(async move {
            let mut body = response.into_body();
            let mut rest = Vec::new();
            let mut result = "none".to_owned();
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(trailers) = frame.trailers_ref() {
                    result = trailers["grpc-status"].to_str().expect("text").to_owned();
                } else if let Ok(data) = frame.into_data() {
                    rest.extend_from_slice(&data);
                    while rest.len() >= 5 {
                        let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
                        if rest.len() < 5 + length {
                            break;
                        }
                        frames.lock().push(Bytes::copy_from_slice(&rest[5..5 + length]));
                        rest.drain(..5 + length);
                    }
                }
            }
            let _ = end.send(result);
        });
        driver.detach_all();
        (status, ended)
    }

    pub async fn nth(frames: &Mutex<Vec<Bytes>>, index: usize) -> Bytes {
        let wait = async {
            loop {
                let found = frames.lock().get(index).cloned();
                match found {
                    Some(frame) => return frame,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("message {index} comes"))
    }

    /// A text whose field is the message's first.
    pub fn text_field(message: &[u8], number: u8) -> String {
        assert_eq!(message[0], number << 3 | 2, "{message:?}");
        let length = usize::from(message[1]);
        String::from_utf8(message[2..2 + length].to_vec()).expect("UTF-8")
    }
}
