use std::sync::Arc;

use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use http::request::Parts;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::listen::Listener;
use crate::server::{self, Options, Peer, Protocol, Service};

/// MAX_CONCURRENT_STREAMS 100, INITIAL_WINDOW_SIZE 2^30, ENABLE_PUSH 0.
const SETTINGS: &str = "AAMAAABkAARAAAAAAAIAAAAA";
const PATIENCE: Duration = Duration::from_secs(20);
const TYPE_GOAWAY: u8 = 0x7;

fn request(change: impl FnOnce(&mut HeaderMap)) -> Request<Body> {
    let mut request = Request::get("/v1.0/healthz?a=b").body(Body::empty()).unwrap();
    let headers = request.headers_mut();
    headers.insert("host", HeaderValue::from_static("localhost:3500"));
    headers.insert("connection", HeaderValue::from_static("Upgrade, HTTP2-Settings"));
    headers.insert("upgrade", HeaderValue::from_static("h2c"));
    headers.insert("http2-settings", HeaderValue::from_static(SETTINGS));
    change(headers);
    request
}

fn set(name: &'static str, value: &'static str) -> Option<Opening> {
    opening(&request(|h| {
        h.insert(name, HeaderValue::from_static(value));
    }))
}

/// Plain literals only, as this module writes them.
fn decode(mut block: &[u8]) -> Vec<(String, String)> {
    fn string(block: &mut &[u8]) -> String {
        let mut length = usize::from(block.get_u8());
        if length == 0x7f {
            let mut shift = 0;
            loop {
                let byte = usize::from(block.get_u8());
                length += (byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        String::from_utf8(block.copy_to_bytes(length).to_vec()).unwrap()
    }
    let mut out = Vec::new();
    while !block.is_empty() {
        assert_eq!(block.get_u8(), 0, "a literal without indexing");
        out.push((string(&mut block), string(&mut block)));
    }
    out
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&frame_head(payload.len(), kind, flags, stream)[..], payload].concat()
}

fn client_opening(settings: &[u8]) -> Vec<u8> {
    [&PREFACE[..], &frame(TYPE_SETTINGS, 0, 0, settings)].concat()
}

#[test]
fn a_request_becomes_stream_1_without_connection_headers() {
    let made = opening(&request(|h| {
        h.insert("connection", HeaderValue::from_static("Upgrade, HTTP2-Settings, X-Hop"));
        h.insert("x-hop", HeaderValue::from_static("1"));
        h.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        h.insert("te", HeaderValue::from_static("gzip"));
        h.append("x-kept", HeaderValue::from_static("a"));
        h.append("x-kept", HeaderValue::from_static("b"));
    }))
    .unwrap();
    assert_eq!(made.settings.len(), 18);
    assert_eq!(made.headers[3..FRAME_HEAD], [TYPE_HEADERS, 0x5, 0, 0, 0, 1]);
    let fields = decode(&made.headers[FRAME_HEAD..]);
    let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "localhost:3500"),
            (":path", "/v1.0/healthz?a=b"),
            ("x-kept", "a"),
            ("x-kept", "b"),
        ]
    );
}

#[test]
fn what_is_no_valid_upgrade_stays_http_1() {
    assert!(opening(&request(|_| ())).is_some());
    assert!(set("upgrade", "websocket, H2C").is_some());
    assert_eq!(set("upgrade", "websocket"), None);
    assert_eq!(set("connection", "Upgrade"), None);
    assert_eq!(set("connection", "HTTP2-Settings"), None);
    assert_eq!(set("host", "not a host"), None);
    let without = opening(&request(|h| {
        h.remove("http2-settings");
    }));
    assert_eq!(without, None);
    let twice = opening(&request(|h| {
        h.append("http2-settings", HeaderValue::from_static(SETTINGS));
    }));
    assert_eq!(twice, None);
    let mut old = request(|_| ());
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(opening(&old), None);
    assert_eq!(opening(&request(|_| ()).map(|_| Body::from(Bytes::from_static(b"x")))), None);
}

#[test]
fn settings_that_are_malformed_stay_http_1() {
    assert!(set("http2-settings", "").is_some());
    for bad in [
        "AAMAAABkAARAAAAAAAIAAAA=", // padded
        "AAMAAABk+ARAAAAAAAIAAAAA", // not the URL alphabet
        "AAMAAABkAA",               // not a whole number of settings
        "AAIAAAAC",                 // ENABLE_PUSH 2
        "AASAAAAA",                 // INITIAL_WINDOW_SIZE 2^31
        "AAUAAAAB",                 // MAX_FRAME_SIZE 1
    ] {
        assert_eq!(set("http2-settings", bad), None, "{bad}");
    }
    let long = HeaderValue::from_str(&"AAMAAABk".repeat(MAX_SETTINGS + 1)).unwrap();
    assert_eq!(decode_settings(&long), None);
    let longest = HeaderValue::from_str(&"AAMAAABk".repeat(MAX_SETTINGS)).unwrap();
    assert_eq!(decode_settings(&longest).unwrap().len(), MAX_SETTINGS * SETTING);
}

#[test]
fn a_head_larger_than_a_frame_stays_http_1() {
    let fill = |n: usize| HeaderValue::from_str(&"x".repeat(n)).unwrap();
    let with = |n| {
        opening(&request(|h| {
            h.insert("x-fill", fill(n));
        }))
    };
    assert_eq!(with(MAX_PAYLOAD), None);
    let made = with(15_000).unwrap();
    let fields = decode(&made.headers[FRAME_HEAD..]);
    assert_eq!(fields.last().unwrap().1.len(), 15_000);
}

#[test]
fn string_lengths_follow_the_hpack_integer() {
    for (length, head) in [
        (126, &[126_u8][..]),
        (127, &[127, 0]),
        (254, &[127, 127]),
        (255, &[127, 0x80, 1]),
        (1337, &[127, 0xba, 9]),
    ] {
        let mut block = Vec::new();
        put_string(&mut block, &vec![b'x'; length]);
        assert_eq!(&block[..head.len()], head, "{length}");
        assert_eq!(block.len(), head.len() + length);
    }
}

#[test]
fn the_request_comes_after_the_first_settings() {
    let made = Opening { settings: vec![1; SETTING], headers: vec![2; 20] };
    let own = [3; 2 * SETTING];
    let received = [client_opening(&own), b"rest".to_vec()].concat();
    let complete = received.len() - 4;
    for cut in 0..complete {
        assert_eq!(splice(&received[..cut], &made), Ok(None), "{cut} bytes");
    }
    let expected =
        [client_opening(&[&made.settings[..], &own].concat()), made.headers.clone(), b"rest".to_vec()]
            .concat();
    assert_eq!(splice(&received, &made), Ok(Some(Bytes::from(expected))));
}

#[test]
fn an_opening_that_is_not_http_2_is_refused() {
    let made = Opening { settings: vec![1; SETTING], headers: vec![2; 20] };
    let start = |frame: &[u8]| [&PREFACE[..], frame].concat();
    assert_eq!(splice(b"GET / ", &made), Err(OpeningError::NoPreface));
    assert_eq!(splice(&start(&frame(TYPE_HEADERS, 0, 1, b"")), &made), Err(OpeningError::NoSettings));
    assert_eq!(splice(&start(&frame(TYPE_SETTINGS, FLAG_ACK, 0, b"")), &made), Err(OpeningError::NoSettings));
    let large = frame_head(MAX_PAYLOAD, TYPE_SETTINGS, 0, 0);
    assert_eq!(splice(&start(&large), &made), Err(OpeningError::TooLarge));
}

#[tokio::test]
async fn an_opening_may_come_byte_by_byte_and_must_come_in_time() {
    let made = || Opening { settings: Vec::new(), headers: b"HEADERS".to_vec() };
    let (mut client, stream) = tokio::io::duplex(1);
    let mut replay = TokioIo::new(Replay::new(TokioIo::new(stream), made(), PATIENCE));
    let sent = [client_opening(b""), b"rest".to_vec()].concat();
    let (_, read) = tokio::join!(
        async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        },
        async move {
            let mut read = Vec::new();
            replay.read_to_end(&mut read).await.unwrap();
            read
        },
    );
    assert_eq!(read, [&client_opening(b"")[..], b"HEADERSrest"].concat());

    let (_client, stream) = tokio::io::duplex(1);
    let mut replay = TokioIo::new(Replay::new(TokioIo::new(stream), made(), Duration::from_millis(5)));
    let error = replay.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Answers 204 and tells what was asked.
struct Recorder(mpsc::UnboundedSender<Parts>);

impl Service for Recorder {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        let _ = self.0.send(request.into_parts().0);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}

struct Running {
    client: TcpStream,
    seen: mpsc::UnboundedReceiver<Parts>,
    tasks: TaskGroup,
}

async fn running(protocol: Protocol) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskGroup::new(Shutdown::new());
    let (tell, seen) = mpsc::unbounded_channel();
    let options = Options::http(protocol);
    let serving = server::serve(Listener::Tcp(listener), Arc::new(Recorder(tell)), options, tasks.clone());
    tasks.spawn("server", serving);
    Running { client: TcpStream::connect(address).await.unwrap(), seen, tasks }
}

impl Running {
    async fn ask(&mut self, settings: &str) -> String {
        let head = format!(
            "GET /v1.0/healthz?a=b HTTP/1.1\r\nHost: localhost:3500\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: {settings}\r\nX-Kept: yes\r\n\r\n"
        );
        self.client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within(self.client.read_u8()).await.unwrap());
        }
        String::from_utf8(answer).unwrap().to_ascii_lowercase()
    }

    /// The next frame: kind, flags, stream, payload.
    async fn frame(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; FRAME_HEAD];
        within(self.client.read_exact(&mut head)).await.unwrap();
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        within(self.client.read_exact(&mut payload)).await.unwrap();
        (kind, flags, u32::from_be_bytes([s0, s1, s2, s3]), payload)
    }

    /// Skips to the answer of `stream`; returns how many acknowledgements of
    /// settings came before it.
    async fn expect_204(&mut self, stream: u32) -> usize {
        let mut acknowledged = 0;
        loop {
            match self.frame().await {
                (TYPE_SETTINGS, FLAG_ACK, 0, _) => acknowledged += 1,
                (TYPE_HEADERS, flags, at, payload) => {
                    assert_eq!((at, flags), (stream, FLAG_END_STREAM | FLAG_END_HEADERS));
                    assert_eq!(payload[0], 0x89, "the static table's `:status: 204`");
                    return acknowledged;
                }
                (kind, ..) => assert_ne!(kind, TYPE_GOAWAY),
            }
        }
    }
}

async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("an answer in time")
}

#[tokio::test]
async fn an_upgraded_connection_answers_its_request_and_further_ones() {
    let mut server = running(Protocol::Http).await;
    let answer = server.ask(SETTINGS).await;
    assert!(answer.starts_with("http/1.1 101 switching protocols\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: upgrade\r\n"), "{answer}");
    assert!(answer.contains("\r\nupgrade: h2c\r\n"), "{answer}");

    // The server's own settings do not wait for the client.
    let (kind, flags, stream, _) = server.frame().await;
    assert_eq!((kind, flags, stream), (TYPE_SETTINGS, 0, 0));

    server.client.write_all(&client_opening(b"")).await.unwrap();
    assert!(server.expect_204(1).await <= 1);
    let first = within(server.seen.recv()).await.unwrap();
    assert_eq!((first.method, first.version), (Method::GET, Version::HTTP_2));
    assert_eq!(first.uri, "http://localhost:3500/v1.0/healthz?a=b");
    assert_eq!(first.headers.len(), 1, "{:?}", first.headers);
    assert_eq!(first.headers["x-kept"], "yes");

    // Indexed `:method: GET`, `:scheme: http`, `:path: /`.
    server.client.write_all(&frame(TYPE_SETTINGS, FLAG_ACK, 0, b"")).await.unwrap();
    server.client.write_all(&frame(TYPE_HEADERS, 0x5, 3, &[0x82, 0x86, 0x84])).await.unwrap();
    server.expect_204(3).await;
    assert_eq!(within(server.seen.recv()).await.unwrap().uri.path(), "/");
}

#[tokio::test]
async fn a_stop_ends_upgraded_connections_gracefully() {
    let mut server = running(Protocol::Http).await;
    server.ask(SETTINGS).await;
    server.client.write_all(&client_opening(b"")).await.unwrap();
    server.expect_204(1).await;
    server.tasks.shutdown().trigger();
    while server.frame().await.0 != TYPE_GOAWAY {}
    drop(server.client);
    assert!(server.tasks.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_malformed_upgrade_is_answered_over_http_1() {
    let mut server = running(Protocol::Http).await;
    let answer = server.ask("AAMAAAB!").await;
    assert!(answer.starts_with("http/1.1 204 no content\r\n"), "{answer}");
    assert_eq!(within(server.seen.recv()).await.unwrap().version, Version::HTTP_11);
}

#[tokio::test]
async fn a_listener_for_http_1_only_does_not_upgrade() {
    let mut server = running(Protocol::Http1Only).await;
    let answer = server.ask(SETTINGS).await;
    assert!(answer.starts_with("http/1.1 204 no content\r\n"), "{answer}");
}
