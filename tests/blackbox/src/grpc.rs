use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No call of these tests takes longer unless something hangs.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A server may put all of an error into headers.
const HEADER_LIMIT: u32 = 1 << 20;

/// How a gRPC call ended.
#[derive(Debug)]
pub struct GrpcAnswer {
    /// Sent ahead of the messages; of an answer that is only a status, all of it.
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    /// The messages, each with its prefix of five bytes.
    pub body: Bytes,
}

impl GrpcAnswer {
    /// A field of the status, wherever the server put it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name)).and_then(|value| value.to_str().ok())
    }

    /// The number of the status code.
    pub fn code(&self) -> Option<i32> {
        self.field("grpc-status")?.parse().ok()
    }
}

/// `message` with the prefix of gRPC.
pub fn grpc_frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("small"));
    framed.put_slice(message);
    framed.freeze()
}

/// The messages of a body as they come.
pub(crate) struct Messages {
    body: Incoming,
    received: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Messages {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, received: Vec::new(), trailers: HeaderMap::new() }
    }

    /// The next message; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(head) = self.received.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                let end = 5 + usize::try_from(length).expect("small");
                if self.received.len() >= end {
                    let message = self.received[5..end].to_vec();
                    self.received.drain(..end);
                    return Some(message);
                }
            }
            let frame = timeout(CALL_TIMEOUT, self.body.frame()).await.expect("a message in time")?;
            match frame.expect("no error").into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
    }
}

/// One call of the server on a port of this machine; `frames` is everything
/// the client sends.
pub async fn ask_grpc(port: u16, path: &str, metadata: &[(&str, &str)], frames: Bytes) -> GrpcAnswer {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a gRPC server");
    ask_grpc_over(stream, path, metadata, frames).await
}

/// Like [`ask_grpc`], over a connection that is there already.
pub async fn ask_grpc_over<S>(stream: S, path: &str, metadata: &[(&str, &str)], frames: Bytes) -> GrpcAnswer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = try_grpc_over(stream, path, metadata, frames).await;
    answer.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Like [`ask_grpc`] for a call that the server may break off.
pub async fn try_grpc(
    port: u16,
    path: &str,
    metadata: &[(&str, &str)],
    frames: Bytes,
) -> Result<GrpcAnswer, hyper::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a gRPC server");
    try_grpc_over(stream, path, metadata, frames).await
}

async fn try_grpc_over<S>(
    stream: S,
    path: &str,
    metadata: &[(&str, &str)],
    frames: Bytes,
) -> Result<GrpcAnswer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEADER_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    let mut serving = JoinSet::new();
    serving.spawn(connection);
    let mut request = Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    // Without a length, as gRPC clients send it.
    let frames = futures::stream::iter([Ok::<_, Infallible>(Frame::data(frames))]);
    let request = request.body(StreamBody::new(frames)).expect("a request");
    let whole = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok::<_, hyper::Error>(GrpcAnswer { headers: head.headers, trailers, body: body.to_bytes() })
    };
    timeout(CALL_TIMEOUT, whole).await.unwrap_or_else(|_| panic!("{path}: no answer"))
}
