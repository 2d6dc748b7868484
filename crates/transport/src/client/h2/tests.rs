use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use dapr_kernel::Shutdown;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::server::{self, Peer, Service};
use crate::{BoxError, listen};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back what it gets, frame by frame, or what the path asks for.
#[derive(Default)]
struct Echo {
    /// Requests whose body ended early.
    cut: Arc<AtomicU64>,
}

impl Service for Echo {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        let length = request.headers().get(CONTENT_LENGTH).cloned();
        let mut response = match request.uri().path() {
            "/echo" => Response::new(Body::from_incoming(request.into_body())),
            "/refuse" => Response::builder().status(StatusCode::FORBIDDEN).body(Body::empty()).unwrap(),
            "/swallow" => {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    if frame.is_err() {
                        self.cut.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                Response::new(Body::from("done"))
            }
            "/panic" => panic!("a request that must end alone"),
            "/wait-and-panic" => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                panic!("a request that must end alone")
            }
            _ => std::future::pending().await,
        };
        if let Some(length) = length {
            response.headers_mut().insert("length", length);
        }
        response
    }
}

struct Peers {
    channel: H2Channel,
    port: u16,
    server: TaskGroup,
    cut: Arc<AtomicU64>,
    tasks: TaskGroup,
}

async fn serve(port: u16, service: Echo) -> (u16, TaskGroup) {
    let listener = listen::bind("127.0.0.1", port, PATIENCE).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = TaskGroup::new(Shutdown::new());
    let served = server::serve(listener, Arc::new(service), server::Options::grpc(1 << 16), tasks.clone());
    tasks.spawn("server", served);
    (port, tasks)
}

async fn peers() -> Peers {
    let service = Echo::default();
    let cut = service.cut.clone();
    let (port, server) = serve(0, service).await;
    let tasks = TaskGroup::new(Shutdown::new());
    let destination = Destination::tcp(format!("127.0.0.1:{port}"), PATIENCE);
    let channel = H2Channel::new(destination, false, H2Options::peer(1 << 16), tasks.clone());
    Peers { channel, port, server, cut, tasks }
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(path).body(body).unwrap()
}

/// A body whose frames are sent by the test.
fn fed() -> (mpsc::Sender<Result<Bytes, BoxError>>, Body) {
    let (feed, frames) = mpsc::channel(4);
    let frames = futures::stream::unfold(frames, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((frame, frames))
    });
    (feed, Body::from_stream(frames))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn bodies_of_any_size_come_back() {
    let peers = peers().await;
    for size in [0, 1, 1000, 70_000, 3_000_000] {
        let sent = Bytes::from((0..size).map(|n| n as u8).collect::<Vec<_>>());
        let answer = peers.channel.send(post("/echo", Body::from(sent.clone()))).await.unwrap();
        assert_eq!(answer.headers()["length"], size.to_string());
        assert!(!answer.headers().contains_key("date"));
        assert!(answer.into_body().collect().await.unwrap() == sent, "{size} bytes");
    }
    let answer = peers.channel.send(post("/refuse", Body::empty())).await.unwrap();
    assert_eq!((answer.status(), answer.body().length()), (StatusCode::FORBIDDEN, Some(0)));
}

#[tokio::test]
async fn a_request_that_panics_ends_alone() {
    let peers = peers().await;
    let (feed, body) = fed();
    let open = peers.channel.send(post("/echo", body)).await.unwrap();
    for path in ["/panic", "/wait-and-panic"] {
        assert!(peers.channel.send(post(path, Body::empty())).await.is_err(), "{path}");
    }
    feed.send(Ok(Bytes::from("still here"))).await.unwrap();
    drop(feed);
    assert_eq!(open.into_body().collect().await.unwrap(), "still here");
}

#[tokio::test]
async fn connection_headers_stay_behind() {
    let peers = peers().await;
    let mut request = post("/echo", Body::from("x"));
    for (name, value) in [("connection", "close, named"), ("named", "1"), ("te", "gzip"), ("upgrade", "h2c")]
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(peers.channel.send(request).await.unwrap().into_body().collect().await.unwrap(), "x");
}

#[tokio::test]
async fn frames_pass_as_they_come_both_ways() {
    let peers = peers().await;
    let (feed, body) = fed();
    let mut answer = peers.channel.send(post("/echo", body)).await.unwrap().into_body();
    for text in ["one", "two", "three"] {
        feed.send(Ok(Bytes::from(text))).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    drop(feed);
    assert_eq!(answer.collect().await.unwrap(), "");
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_writer() {
    let peers = peers().await;
    let (feed, body) = fed();
    let answer = peers.channel.send(post("/echo", body)).await.unwrap().into_body();
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    let writer = peers.tasks.spawn("writer", async move {
        let frame = Bytes::from(vec![0; 64 * 1024]);
        for _ in 0..256 {
            feed.send(Ok(frame.clone())).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Two windows, the frames between and what the sockets hold: far from all.
    let held = taken.load(Ordering::Relaxed);
    assert!(held < 128, "{held} frames were taken");
    assert_eq!(answer.collect().await.unwrap().len(), 256 * 64 * 1024);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_body_that_fails_fails_the_call_and_the_peers_request() {
    let peers = peers().await;
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("begin"))).await.unwrap();
    feed.send(Err("the source is gone".into())).await.unwrap();
    let error = peers.channel.send(post("/swallow", body)).await.unwrap_err();
    assert_eq!(error.to_string(), "the source is gone");
    eventually("the peer sees the cut", || peers.cut.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_is_given_up_at_the_peer() {
    let peers = peers().await;
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("begin"))).await.unwrap();
    let call = peers.channel.send(post("/swallow", body));
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    eventually("the peer sees the cut", || peers.cut.load(Ordering::Relaxed) == 1).await;
    assert!(feed.is_closed());
}

#[tokio::test]
async fn a_stopped_peer_is_dialled_anew() {
    let peers = peers().await;
    for _ in 0..2 {
        peers.channel.send(post("/echo", Body::from("x"))).await.unwrap();
    }
    assert!(peers.server.stop(PATIENCE).await);
    eventually("the connection is known to be closed", || peers.channel.free().is_none()).await;
    let (_, server) = serve(peers.port, Echo::default()).await;
    let answer = peers.channel.send(post("/echo", Body::from("y"))).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap(), "y");
    assert!(server.stop(PATIENCE).await);
}

#[tokio::test]
async fn more_streams_than_one_connection_takes_get_another() {
    let peers = peers().await;
    let mut calls = Vec::new();
    for _ in 0..STREAMS_PER_CONNECTION + 1 {
        let (feed, body) = fed();
        calls.push((feed, peers.channel.send(post("/echo", body)).await.unwrap()));
    }
    assert_eq!(peers.channel.0.connections.lock().len(), 2);
    drop(calls);
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new(Shutdown::new());
    tasks.spawn("silent", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // An empty SETTINGS frame and nothing more.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let short = Duration::from_millis(50);
    let options = H2Options { keepalive: Some((short, short)), max_header_list: 1 << 16 };
    let channel = H2Channel::new(Destination::tcp(address, PATIENCE), false, options, tasks);
    let call = channel.send(post("/echo", Body::from("x")));
    let error = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap_err();
    assert!(!error.never_sent(), "{error}");
}

#[tokio::test]
async fn an_idle_connection_lives_on_pings() {
    let peers = peers().await;
    let short = Duration::from_millis(50);
    let options = H2Options { keepalive: Some((short, PATIENCE)), max_header_list: 1 << 16 };
    let destination = Destination::tcp(format!("127.0.0.1:{}", peers.port), PATIENCE);
    let channel = H2Channel::new(destination, false, options, peers.tasks.clone());
    channel.send(post("/echo", Body::from("x"))).await.unwrap();
    tokio::time::sleep(short * 8).await;
    assert!(channel.free().is_some());
    channel.send(post("/echo", Body::from("y"))).await.unwrap();
    assert_eq!(channel.0.connections.lock().len(), 1);
}
