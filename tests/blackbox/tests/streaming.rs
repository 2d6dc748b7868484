//! Bodies of any size pass through two sidecars without being gathered in
//! either: chunked both ways, at the same time.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use dapr_blackbox::{Options, SQLITE_RESOLVER, Scratch, Sidecar, eventually};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const CHUNK: usize = 64 * 1024;
const TOTAL: usize = 256 << 20;
/// For the whole body, in both directions, on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// By how much a sidecar may grow: windows and buffers, not bodies.
const GROWTH_KIB: u64 = 32 * 1024;

/// Answers each request with its own body, as it comes.
async fn echo() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("free port");
    let port = listener.local_addr().expect("bound").port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let service = service_fn(|request: http::Request<Incoming>| async {
                    Ok::<_, Infallible>(http::Response::new(request.into_body()))
                });
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, serving)
}

/// Memory of a process in KiB.
fn resident(sidecar: &Sidecar) -> u64 {
    let id = sidecar.process.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("own child");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends `total` bytes in chunks and reads as many, at the same time.
async fn there_and_back(sidecar: &Sidecar, path: &str, total: usize) {
    let stream = TcpStream::connect(("127.0.0.1", sidecar.http_port)).await.expect("the sidecar");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let mut serving = JoinSet::new();
    serving.spawn(connection);
    let chunks = (0..total / CHUNK).map(|number| {
        let byte = u8::try_from(number % 251).expect("small");
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte; CHUNK])))
    });
    let body = StreamBody::new(futures::stream::iter(chunks));
    let request = http::Request::post(path).header("host", "localhost").body(body).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let (mut body, mut received) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.expect("no error").into_data().expect("data");
        for (at, byte) in [(received, data.first()), (received + data.len() - 1, data.last())] {
            assert_eq!(byte.copied().map(usize::from), Some(at / CHUNK % 251), "at {at}");
        }
        received += data.len();
    }
    assert_eq!(received, total);
}

#[tokio::test]
async fn a_large_body_leaves_both_sidecars_as_they_were() {
    let scratch = Scratch::new("streaming");
    let folder = scratch.path().to_str().expect("UTF-8");
    let config = scratch.write("config.yaml", &SQLITE_RESOLVER.replace("FOLDER", folder));
    let (port, _app) = echo().await;
    let options = |name: &str| Options::new(name).config(config.clone()).flag("--max-body-size=1Gi");
    let callee = Sidecar::start(&scratch, options("callee").app(port)).await;
    let caller = Sidecar::start(&scratch, options("caller")).await;
    let path = "/v1.0/invoke/callee/method/echo";
    eventually("the callee is found", Duration::from_secs(30), || async {
        let answer = caller.client.get(path).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    // Pools and code pages that any stream needs.
    timeout(LIMIT, there_and_back(&caller, path, 4 << 20)).await.expect("in time");
    let before = [&caller, &callee].map(resident);
    timeout(LIMIT, there_and_back(&caller, path, TOTAL)).await.expect("in time");
    let after = [&caller, &callee].map(resident);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + GROWTH_KIB, "from {before} to {after} KiB");
    }
    caller.stop().await;
    callee.stop().await;
}
