//! The caller's half of the sidecar-to-sidecar stream (api.md §7.10).

use bytes::Bytes;
use dapr_app_channel::{InvokeResponse, Status};
use dapr_errors::Code;
use dapr_transport::client::{ClientError, H2Channel};
use dapr_transport::grpc::{self, FrameError, Reader};
use dapr_transport::{Body, BoxError};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, header};

use super::headers::from_wire;
use super::wire::{self, Payload, Received, ReceivedResponse, RequestHead};

pub const CALL_LOCAL_STREAM: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream";

/// Codes below this are gRPC statuses, from here on HTTP ones.
const FIRST_HTTP_STATUS: i32 = 100;

/// A call that got no answer from the application.
#[derive(Debug)]
pub enum PeerError {
    /// The peer was not reached or went away: its address may be stale.
    Unreachable(String),
    /// The peer's sidecar refused or failed.
    Status { code: Code, message: String },
}

impl From<ClientError> for PeerError {
    fn from(error: ClientError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Sends a [`request_body`] to the peer and returns as soon as the answer's
/// head is there; its body streams.
pub fn call(
    channel: &H2Channel,
    request: Body,
    outgoing: HeaderMap,
    limit: usize,
) -> impl Future<Output = Result<InvokeResponse, PeerError>> + Send + use<> {
    let mut request = Request::new(request);
    *request.uri_mut() = http::Uri::from_static(CALL_LOCAL_STREAM);
    *request.method_mut() = http::Method::POST;
    *request.headers_mut() = outgoing;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    // No async fn, and polled in place: the future holds the request once.
    let mut sending = channel.send(request);
    async move {
        let mut reader = {
            let (parts, body) = (&mut sending).await?.into_parts();
            refused(&parts.headers)?;
            Reader::new(body, limit)
        };
        let first = match reader.next_bytes().await {
            Ok(Some(first)) => Received::decode(first).map_err(FrameError::from),
            Ok(None) => {
                refused(reader.trailers().unwrap_or(&HeaderMap::new()))?;
                return Err(internal("no response received from stream"));
            }
            Err(error) => Err(error),
        };
        answer(first.map_err(|e| PeerError::Unreachable(e.to_string()))?, reader)
    }
}

/// An error status in headers or trailers.
fn refused(headers: &HeaderMap) -> Result<(), PeerError> {
    match grpc::status_of(headers) {
        Some((code, message)) if code != 0 => Err(PeerError::Status { code: Code::from_i32(code), message }),
        _ => Ok(()),
    }
}

fn internal(message: &str) -> PeerError {
    PeerError::Status { code: Code::Internal, message: message.to_owned() }
}

/// A body that is all here travels with the head in one message.
pub fn request_body(head: &RequestHead<'_>, body: Body) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return Body::from(wire::request_frame(head, None));
    }
    if let Some(data) = body.as_full() {
        return Body::from(wire::request_frame(head, Some(data)));
    }
    let head = futures::stream::once(std::future::ready(Ok(wire::request_frame(head, None))));
    Body::from_stream(futures::StreamExt::chain(head, payloads(body)))
}

/// Turns a body's frames into numbered, framed payload messages.
pub(super) fn payloads(body: Body) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
    use http_body_util::BodyExt;
    futures::stream::unfold((body, 0u64), |(mut body, seq)| async move {
        loop {
            match body.frame().await? {
                Err(error) => return Some((Err(error.into()), (Body::empty(), seq))),
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        return Some((Ok(wire::payload_frame(&data, seq)), (body, seq + 1)));
                    }
                    _ => continue,
                },
            }
        }
    })
}

fn answer(first: Received, mut reader: Reader) -> Result<InvokeResponse, PeerError> {
    let missing = || internal("response does not contain the required fields in the leading chunk");
    let response = ReceivedResponse::decode(first.head.ok_or_else(missing)?)
        .map_err(|e| PeerError::Unreachable(FrameError::from(e).to_string()))?;
    let status = response.status.ok_or_else(missing)?;
    let is_http = status.code >= FIRST_HTTP_STATUS;
    Ok(InvokeResponse {
        status: if is_http {
            Status::Http(u16::try_from(status.code).unwrap_or(500))
        } else {
            Status::Grpc {
                code: Code::from_i32(status.code),
                message: status.message,
                details: status.details,
            }
        },
        headers: from_wire(&response.headers, !is_http),
        trailers: from_wire(&response.trailers, !is_http),
        content_type: HeaderValue::from_maybe_shared(response.content_type).ok().filter(|v| !v.is_empty()),
        type_url: response.type_url,
        body: response_body(first.payload, &mut reader).unwrap_or_else(|head| stream_rest(head, reader)),
    })
}

/// The whole body when the peer sent it in one go; what came so far otherwise.
fn response_body(first: Option<Payload>, reader: &mut Reader) -> Result<Body, Progress> {
    let mut progress = Progress::default();
    progress.take(first).map_err(|error| Progress { failed: Some(error), ..Progress::default() })?;
    match reader.next_bytes().now_or_never() {
        Some(Ok(None)) if trailer_error(reader).is_none() => Ok(Body::from(progress.ready)),
        Some(Ok(None)) => Err(progress),
        Some(Ok(Some(bytes))) => {
            progress.pending = Some(bytes);
            Err(progress)
        }
        Some(Err(error)) => {
            progress.failed = Some(error.into());
            Err(progress)
        }
        None => Err(progress),
    }
}

/// What was read ahead of the streaming rest.
#[derive(Default)]
struct Progress {
    ready: Bytes,
    pending: Option<Bytes>,
    failed: Option<BoxError>,
    expected: u64,
}

impl Progress {
    fn take(&mut self, payload: Option<Payload>) -> Result<(), BoxError> {
        let Some(payload) = payload else { return Ok(()) };
        if payload.seq != self.expected {
            let (seq, expected) = (payload.seq, self.expected);
            return Err(format!("invalid sequence number received: {seq} (expected: {expected})").into());
        }
        self.expected += 1;
        self.ready = payload.data;
        Ok(())
    }
}

fn stream_rest(progress: Progress, reader: Reader) -> Body {
    Body::from_stream(futures::stream::unfold(
        (progress, Some(reader)),
        |(mut progress, mut reader)| async move {
            loop {
                if !progress.ready.is_empty() {
                    let data = std::mem::take(&mut progress.ready);
                    return Some((Ok(data), (progress, reader)));
                }
                if let Some(error) = progress.failed.take() {
                    return Some((Err(error), (Progress::default(), None)));
                }
                let source = reader.as_mut()?;
                if let Err(error) = advance(&mut progress, source).await {
                    return Some((Err(error), (Progress::default(), None)));
                }
                if progress.ready.is_empty() && source.trailers().is_some() {
                    return None;
                }
            }
        },
    ))
}

async fn advance(progress: &mut Progress, reader: &mut Reader) -> Result<(), BoxError> {
    let bytes = match progress.pending.take() {
        Some(bytes) => Some(bytes),
        None => reader.next_bytes().await?,
    };
    match bytes {
        Some(bytes) => {
            let chunk = Received::decode(bytes).map_err(FrameError::from)?;
            // Peers that flush events send an empty head with each.
            if chunk.head.is_some_and(|head| !head.is_empty()) {
                return Err("response metadata found in non-leading chunk".into());
            }
            progress.take(chunk.payload)
        }
        None => match trailer_error(reader) {
            Some(error) => Err(error),
            None if reader.trailers().is_some() => Ok(()),
            // The connection ended without a status: what came is not whole.
            None => Err("stream ended without a status".into()),
        },
    }
}

fn trailer_error(reader: &Reader) -> Option<BoxError> {
    let (code, message) = grpc::status_of(reader.trailers()?)?;
    (code != 0).then(|| dapr_errors::grpc_nested(Code::from_i32(code), &message).into())
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    /// One framed message of the answer: a head and one byte of payload.
    fn event(head: &[u8], seq: u8) -> Bytes {
        let mut message = vec![0x0a, head.len() as u8];
        message.extend_from_slice(head);
        message.extend_from_slice(&[0x12, 5, 0x0a, 1, b'a' + seq, 0x10, seq]);
        let mut out = BytesMut::new();
        out.put_u8(0);
        out.put_u32(message.len() as u32);
        out.extend_from_slice(&message);
        out.freeze()
    }

    async fn read(heads: &[&[u8]]) -> Result<Bytes, dapr_transport::BodyError> {
        let mut frames: Vec<Result<_, BoxError>> = Vec::new();
        for (seq, head) in heads.iter().enumerate() {
            frames.push(Ok(http_body::Frame::data(event(head, seq as u8))));
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        frames.push(Ok(http_body::Frame::trailers(trailers)));
        let body = Body::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames)));
        let mut reader = Reader::new(body, 0);
        let first = Received::decode(reader.next_bytes().await.unwrap().unwrap()).unwrap();
        answer(first, reader).unwrap().body.collect().await
    }

    /// Status 200, all that an answer needs.
    const HEAD: &[u8] = &[0x0a, 3, 0x08, 0xc8, 0x01];

    #[tokio::test]
    async fn later_messages_may_carry_an_empty_head() {
        assert_eq!(read(&[HEAD, b"", b""]).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_second_head_is_an_error() {
        let error = read(&[HEAD, HEAD]).await.unwrap_err();
        assert_eq!(error.to_string(), "response metadata found in non-leading chunk");
    }
}
