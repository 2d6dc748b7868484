//! The caller's half of the sidecar-to-sidecar stream (api.md §7.10).

use bytes::Bytes;
use dapr_app_channel::{InvokeResponse, Status};
use dapr_errors::Code;
use dapr_transport::client::{ClientError, H2Channel};
use dapr_transport::grpc::{self, FrameError, Reader};
use dapr_transport::{Body, BoxError};
use dapr_wire::common::v1::StreamPayload;
use dapr_wire::internals::v1::{
    InternalInvokeRequest, InternalInvokeRequestStream, InternalInvokeResponseStream,
};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, header};
use prost::Message;

use super::headers::from_wire;

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

/// Calls `head` with `body` on the peer and returns as soon as the answer's
/// head is there; its body streams.
pub async fn call(
    channel: &H2Channel,
    head: InternalInvokeRequest,
    body: Body,
    outgoing: HeaderMap,
    limit: usize,
) -> Result<InvokeResponse, PeerError> {
    let mut request = Request::new(request_body(head, body));
    *request.uri_mut() = http::Uri::from_static(CALL_LOCAL_STREAM);
    *request.method_mut() = http::Method::POST;
    *request.headers_mut() = outgoing;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    let (parts, body) = channel.send(request).await?.into_parts();
    refused(&parts.headers)?;
    let mut reader = Reader::new(body, limit);
    let first = match reader.next::<InternalInvokeResponseStream>().await {
        Ok(Some(first)) => first,
        Ok(None) => {
            refused(reader.trailers().unwrap_or(&HeaderMap::new()))?;
            return Err(internal("no response received from stream"));
        }
        Err(error) => return Err(PeerError::Unreachable(error.to_string())),
    };
    answer(first, reader)
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
fn request_body(head: InternalInvokeRequest, body: Body) -> Body {
    let mut first = InternalInvokeRequestStream { request: Some(head), payload: None };
    if http_body::Body::is_end_stream(&body) {
        return Body::from(grpc::frame(&first));
    }
    if let Some(data) = body.as_full() {
        first.payload = Some(StreamPayload { data: data.clone(), seq: 0 });
        return Body::from(grpc::frame(&first));
    }
    let frames = payloads(body, |payload| {
        grpc::frame(&InternalInvokeRequestStream { request: None, payload: Some(payload) })
    });
    let head = futures::stream::once(std::future::ready(Ok(grpc::frame(&first))));
    Body::from_stream(futures::StreamExt::chain(head, frames))
}

/// Turns a body's frames into numbered, framed payload messages.
pub(super) fn payloads(
    body: Body,
    wrap: impl Fn(StreamPayload) -> Bytes + Send + 'static,
) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
    use http_body_util::BodyExt;
    futures::stream::unfold((body, 0u64, wrap), |(mut body, seq, wrap)| async move {
        loop {
            match body.frame().await? {
                Err(error) => return Some((Err(error.into()), (Body::empty(), seq, wrap))),
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        let message = wrap(StreamPayload { data, seq });
                        return Some((Ok(message), (body, seq + 1, wrap)));
                    }
                    _ => continue,
                },
            }
        }
    })
}

fn answer(first: InternalInvokeResponseStream, mut reader: Reader) -> Result<InvokeResponse, PeerError> {
    let response = first
        .response
        .ok_or_else(|| internal("response does not contain the required fields in the leading chunk"))?;
    let status = response
        .status
        .ok_or_else(|| internal("response does not contain the required fields in the leading chunk"))?;
    let is_http = status.code >= FIRST_HTTP_STATUS;
    let details = if status.details.is_empty() {
        Bytes::new()
    } else {
        let rich = dapr_wire::google::rpc::Status {
            code: status.code,
            message: status.message.clone(),
            details: status.details,
        };
        Bytes::from(rich.encode_to_vec())
    };
    let message = response.message.unwrap_or_default();
    Ok(InvokeResponse {
        status: if is_http {
            Status::Http(u16::try_from(status.code).unwrap_or(500))
        } else {
            Status::Grpc { code: Code::from_i32(status.code), message: status.message, details }
        },
        headers: from_wire(response.headers, !is_http),
        trailers: from_wire(response.trailers, !is_http),
        content_type: HeaderValue::from_str(&message.content_type).ok().filter(|v| !v.is_empty()),
        type_url: message.data.map(|d| d.type_url).unwrap_or_default(),
        body: response_body(first.payload, &mut reader).unwrap_or_else(|head| stream_rest(head, reader)),
    })
}

/// The whole body when the peer sent it in one go; what came so far otherwise.
fn response_body(first: Option<StreamPayload>, reader: &mut Reader) -> Result<Body, Progress> {
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
    fn take(&mut self, payload: Option<StreamPayload>) -> Result<(), BoxError> {
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
            let chunk = InternalInvokeResponseStream::decode(bytes).map_err(FrameError::from)?;
            if chunk.response.is_some() {
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
