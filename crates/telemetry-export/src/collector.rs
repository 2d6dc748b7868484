//! Sending one request to a collector.

use std::io::Write as _;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::client::{ClientError, H2Channel, H2Options, Http1Options, Http1Pool};
use dapr_transport::{Body, grpc};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use prost::Message;

use crate::endpoint::{self, DEFAULT_TIMEOUT, EndpointError, OtlpEndpoint, Protocol, Target};

const AGENT: HeaderValue = HeaderValue::from_static("dapr-telemetry-export");
/// Largest answer that is read: collectors say next to nothing.
const ANSWER_LIMIT: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 64 * 1024;
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A batch that did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    reason: String,
    /// Whether the same may succeed later.
    pub passing: bool,
}

impl SendError {
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: false }
    }

    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: true }
    }
}

impl From<ClientError> for SendError {
    fn from(error: ClientError) -> Self {
        Self::passing(error.to_string())
    }
}

/// Posts bodies to one URL over HTTP/1.1.
pub struct HttpPost {
    pool: Http1Pool,
    uri: Uri,
    headers: HeaderMap,
}

impl HttpPost {
    pub fn new(
        target: Target,
        path: &str,
        headers: HeaderMap,
        tasks: &TaskGroup,
    ) -> Result<Self, EndpointError> {
        let bad = |reason: String| EndpointError::Url { url: path.to_owned(), reason };
        let uri = if path.is_empty() { "/" } else { path }.parse().map_err(|e| bad(format!("{e}")))?;
        let mut all = headers;
        all.insert(USER_AGENT, AGENT);
        all.insert(HOST, target.host);
        let options = Http1Options { max_connections: 2, max_idle: 1, ..Http1Options::default() };
        Ok(Self { pool: Http1Pool::new(target.destination, options, tasks.clone()), uri, headers: all })
    }

    /// The status of the answer, which has been read.
    pub async fn post(&self, content_type: &'static str, body: Bytes) -> Result<u16, SendError> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *request.body_mut() = Body::from(body);
        let response = self.pool.send(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().limited(Some(ANSWER_LIMIT as u64));
        // Reading to the end lets the connection be used again.
        let _ = body.collect().await;
        Ok(status)
    }
}

/// An OTLP collector, for one signal.
pub struct OtlpClient {
    way: Way,
    gzip: bool,
    timeout: Duration,
}

enum Way {
    Grpc { channel: H2Channel, path: &'static str, headers: HeaderMap },
    Http(HttpPost),
}

/// What a signal is called in both protocols.
#[derive(Clone, Copy)]
pub struct Signal {
    pub method: &'static str,
    pub path: &'static str,
}

impl OtlpClient {
    pub fn new(endpoint: &OtlpEndpoint, signal: Signal, tasks: &TaskGroup) -> Result<Self, EndpointError> {
        let mut headers = endpoint::headers(&endpoint.headers)?;
        let is_grpc = endpoint.protocol == Protocol::Grpc;
        if endpoint.gzip {
            let name = if is_grpc { HeaderName::from_static("grpc-encoding") } else { CONTENT_ENCODING };
            headers.insert(name, GZIP);
        }
        let alpn: Option<&[u8]> = is_grpc.then_some(b"h2");
        let target = Target::new(&endpoint.address, endpoint.secure, alpn, &endpoint.tls)?;
        let way = if is_grpc {
            let options = H2Options::app(MAX_HEADER_LIST);
            let channel = H2Channel::new(target.destination, endpoint.secure, options, tasks.clone());
            Way::Grpc { channel, path: signal.method, headers }
        } else {
            let path = if target.path.ends_with(signal.path) {
                target.path.clone()
            } else {
                format!("{}{}", target.path, signal.path)
            };
            Way::Http(HttpPost::new(target, &path, headers, tasks)?)
        };
        Ok(Self {
            way,
            gzip: endpoint.gzip,
            timeout: endpoint.timeout.filter(|t| !t.is_zero()).unwrap_or(DEFAULT_TIMEOUT),
        })
    }

    pub async fn send(&self, message: &impl Message) -> Result<(), SendError> {
        let sending = async {
            match &self.way {
                Way::Grpc { channel, path, headers } => {
                    let message = if self.gzip { compressed_frame(message) } else { grpc::frame(message) };
                    unary(channel, path, headers, message).await
                }
                Way::Http(post) => {
                    let body = message.encode_to_vec();
                    let body = Bytes::from(if self.gzip { compressed(&body) } else { body });
                    judge(post.post("application/x-protobuf", body).await?)
                }
            }
        };
        tokio::time::timeout(self.timeout, sending)
            .await
            .unwrap_or_else(|_| Err(SendError::passing("context deadline exceeded")))
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// A gRPC message whose flag says that it is compressed.
fn compressed_frame(message: &impl Message) -> Bytes {
    let bytes = compressed(&message.encode_to_vec());
    let mut frame = BytesMut::with_capacity(grpc::PREFIX + bytes.len());
    frame.put_u8(1);
    frame.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&bytes);
    frame.freeze()
}

/// OTLP/HTTP: which failures may pass is fixed by its specification.
fn judge(status: u16) -> Result<(), SendError> {
    let reason = || format!("the collector answered with status {status}");
    match status {
        200..300 => Ok(()),
        429 | 502 | 503 | 504 => Err(SendError::passing(reason())),
        _ => Err(SendError::lasting(reason())),
    }
}

async fn unary(
    channel: &H2Channel,
    path: &'static str,
    headers: &HeaderMap,
    message: Bytes,
) -> Result<(), SendError> {
    let mut request = Request::new(Body::from(message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    *request.headers_mut() = headers.clone();
    let metadata = request.headers_mut();
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    metadata.insert(USER_AGENT, AGENT);
    let (parts, body) = channel.send(request).await?.into_parts();
    if let Some(status) = grpc::status_of(&parts.headers) {
        return judge_grpc(status);
    }
    let mut reader = grpc::Reader::new(body, ANSWER_LIMIT);
    while reader.next_bytes().await.map_err(|e| SendError::passing(e.to_string()))?.is_some() {}
    let status = reader.trailers().and_then(grpc::status_of);
    judge_grpc(status.ok_or_else(|| SendError::passing("the answer ended without a status"))?)
}

fn judge_grpc((code, message): (i32, String)) -> Result<(), SendError> {
    let reason = || format!("the collector answered with code {code}: {message}");
    match code {
        0 => Ok(()),
        // Cancelled, deadline, exhausted, aborted, out of range, unavailable, data loss.
        1 | 4 | 8 | 10 | 11 | 14 | 15 => Err(SendError::passing(reason())),
        _ => Err(SendError::lasting(reason())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn compressed_messages_say_so() {
        let text = "span ".repeat(1000);
        let frame = compressed_frame(&text);
        assert!(frame.len() < 200 && frame[0] == 1);
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&frame[grpc::PREFIX..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, text.encode_to_vec());
    }
}
