//! The callee's half of the sidecar-to-sidecar stream (api.md §7.10).

use std::borrow::Cow;

use bytes::Bytes;
use dapr_app_channel::{AppChannel, InvokeRequest, InvokeResponse, Origin, Status};
use dapr_errors::Code;
use dapr_security::spiffe::SpiffeId;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::{GRPC_TRACE_BIN, Span, propagation};
use dapr_transport::grpc::{self, FrameError, Reader};
use dapr_transport::{Body, BoxError};
use dapr_wire::common::v1::http_extension::Verb;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};

use super::access::AccessGuard;
use super::headers::{Spelling, from_wire};
use super::method::normalized;
use super::service::status_number;
use super::wire::{
    self, Metadata, Payload, Received, ReceivedMessage, ReceivedMetadata, ReceivedRequest, ResponseHead,
};

/// Answers up to this size travel with their head in one message.
const WHOLE_ANSWER: u64 = 64 * 1024;

/// A refusal that ends the stream.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A trailers-only gRPC response.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(self.code as i32));
        if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(&self.message)) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

/// Serves one `CallLocalStream` call. `limit` is the largest message.
pub async fn serve_stream(
    channel: Option<AppChannel>,
    metrics: Option<&Catalogue>,
    called: Called<'_>,
    body: Body,
    limit: usize,
) -> Response<Body> {
    match stream(channel, metrics, called, body, limit).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn stream(
    channel: Option<AppChannel>,
    metrics: Option<&Catalogue>,
    called: Called<'_>,
    body: Body,
    limit: usize,
) -> Result<Response<Body>, Refusal> {
    let channel = channel.ok_or_else(|| Refusal::new(Code::Internal, "app channel is not initialized"))?;
    let (first, reader) = first_message(body, limit).await?;
    let (request, caller) = open(&channel, metrics, called, first, reader)?;
    let wants_events = request.headers.get(header::ACCEPT).is_some_and(|v| v == "text/event-stream");
    let answer = channel
        .invoke(request)
        .await
        .inspect(|answer| answered(&caller, status_number(&answer.status)))
        .inspect_err(|_| answered(&caller, Code::Internal as u16))
        .map_err(|e| Refusal::new(Code::Internal, format!("error invoking app channel: {e}")))?;
    if wants_events && !matches!(answer.status, Status::Http(200..=299)) {
        // An event stream that did not begin is no answer (api.md §7.5).
        return Err(Refusal::new(
            Code::Internal,
            "error invoking app channel: no response received from stream",
        ));
    }
    Ok(respond(answer).await)
}

/// Apart from what comes after it, which then has its room.
async fn first_message(body: Body, limit: usize) -> Result<(Bytes, Reader), Refusal> {
    let mut reader = Reader::new(body, limit);
    let first = reader.next_bytes().await.map_err(|e| unreadable(&e))?.unwrap_or_default();
    Ok((first, reader))
}

/// The request that a stream begins with, if the caller may make it.
fn open<'a>(
    channel: &AppChannel,
    metrics: Option<&'a Catalogue>,
    called: Called<'_>,
    first: Bytes,
    reader: Reader,
) -> Result<(InvokeRequest, Option<Caller<'a>>), Refusal> {
    let first = Received::decode(first).map_err(|e| unreadable(&FrameError::from(e)))?;
    let head = ReceivedRequest::decode(first.head.unwrap_or_default())
        .map_err(|e| unreadable(&FrameError::from(e)))?;
    let (metadata, mut message) = match (head.metadata, head.message) {
        (metadata, Some(message)) if !metadata.is_empty() => (metadata, message),
        _ => return Err(invalid("request does not contain the required fields in the leading chunk")),
    };
    let body = request_body(first.payload, reader).map_err(|e| invalid(&e.to_string()))?;
    let method = called.admit(&metadata, &mut message)?;
    let caller = metrics.map(|metrics| Caller::received(metrics, &metadata));
    let mut request = to_request(channel, &metadata, message, method, body)?;
    called.name(&mut request);
    Ok((request, caller))
}

/// The calling application, as metrics name it.
struct Caller<'a> {
    metrics: &'a Catalogue,
    id: Bytes,
}

impl<'a> Caller<'a> {
    /// Counts a request that has arrived.
    fn received(metrics: &'a Catalogue, metadata: &ReceivedMetadata) -> Self {
        let id = metadata.get("dapr-caller-app-id").unwrap_or_else(|| Bytes::from_static(b"unknown"));
        metrics.invocation.request_received(&String::from_utf8_lossy(&id));
        Self { metrics, id }
    }
}

fn answered(caller: &Option<Caller<'_>>, status: u16) {
    if let Some(caller) = caller {
        caller.metrics.invocation.response_sent(&String::from_utf8_lossy(&caller.id), status);
    }
}

/// What surrounds a call that is being served.
#[derive(Debug)]
pub struct Called<'a> {
    pub span: &'a mut Span,
    /// Our own application.
    pub app_id: &'a str,
    /// Who calls, proved by a certificate.
    pub caller: Option<&'a SpiffeId>,
    /// Who may call; `None` when anyone may.
    pub access: Option<&'a AccessGuard>,
}

impl Called<'_> {
    /// The normalised method, which the application gets, if the caller may
    /// call it.
    fn admit(&self, metadata: &ReceivedMetadata, message: &mut ReceivedMessage) -> Result<String, Refusal> {
        let changed = match normalized(&message.method) {
            Err(error) => return Err(Refusal::new(Code::InvalidArgument, error.to_string())),
            Ok(Cow::Owned(method)) => Some(method),
            Ok(Cow::Borrowed(_)) => None,
        };
        let method = changed.unwrap_or_else(|| std::mem::take(&mut message.method));
        if let Some(access) = self.access {
            let verb = if metadata.is_empty() { Verb::None } else { message.verb() };
            access
                .admit_call(self.caller, verb, &method)
                .map_err(|denied| Refusal::new(Code::PermissionDenied, denied.0))?;
        }
        Ok(method)
    }

    /// Names the span and makes it the parent of the application's.
    fn name(self, request: &mut InvokeRequest) {
        let Self { span, app_id, .. } = self;
        if span.is_recording() {
            span.set("rpc.service", "ServiceInvocation");
            span.set("dapr.invoke_method", request.method.as_str());
            span.rename(format_args!("CallLocal/{app_id}/{}", request.method));
        }
        let headers = &mut request.headers;
        match span.context() {
            None => propagation::normalize_grpc(headers),
            Some(_) if headers.contains_key(GRPC_TRACE_BIN) => span.write_grpc(headers),
            Some(_) => span.write_http(headers),
        }
    }
}

fn unreadable(error: &FrameError) -> Refusal {
    Refusal::new(Code::Internal, error.to_string())
}

fn invalid(reason: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("parsing InternalInvokeRequest error: {reason}"))
}

/// `method` is normalised.
fn to_request(
    channel: &AppChannel,
    metadata: &ReceivedMetadata,
    message: ReceivedMessage,
    method: String,
    body: Body,
) -> Result<InvokeRequest, Refusal> {
    let origin = if is_grpc(metadata) { Origin::Grpc } else { Origin::Http };
    let mut headers = from_wire(metadata, origin == Origin::Grpc);
    if body.as_full().is_some() || http_body::Body::is_end_stream(&body) {
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(InvokeRequest {
        method,
        verb: method_of(message.verb(), channel.grpc().is_some())?,
        query: message.query,
        headers,
        content_type: HeaderValue::from_maybe_shared(message.content_type).ok().filter(|v| !v.is_empty()),
        type_url: message.type_url,
        origin,
        body,
    })
}

fn is_grpc(metadata: &ReceivedMetadata) -> bool {
    metadata.get("content-type").is_some_and(|v| v.starts_with(b"application/grpc"))
}

/// A gRPC application gets whatever verb the caller gave; without one it is
/// POST, as for callers of our own.
fn method_of(verb: Verb, is_grpc: bool) -> Result<Method, Refusal> {
    Ok(match verb {
        Verb::None if is_grpc => Method::POST,
        Verb::Connect if is_grpc => Method::CONNECT,
        Verb::None | Verb::Connect => return Err(Refusal::new(Code::InvalidArgument, "invalid HTTP verb")),
        Verb::Get => Method::GET,
        Verb::Head => Method::HEAD,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
        Verb::Options => Method::OPTIONS,
        Verb::Trace => Method::TRACE,
        Verb::Patch => Method::PATCH,
    })
}

/// A body that is complete with its first message is passed on whole.
fn request_body(first: Option<Payload>, mut reader: Reader) -> Result<Body, BoxError> {
    let mut expected = 0u64;
    let mut ready = take(first, &mut expected)?;
    let mut pending = None;
    match reader.next_bytes().now_or_never() {
        Some(Ok(None)) => return Ok(Body::from(ready)),
        Some(Ok(bytes)) => pending = bytes,
        Some(Err(error)) => return Err(error.into()),
        None => {}
    }
    let state = (reader, pending, expected, Some(std::mem::take(&mut ready)));
    Ok(Body::from_stream(futures::stream::try_unfold(
        state,
        |(mut reader, mut pending, mut expected, first)| async move {
            if let Some(data) = first.filter(|d| !d.is_empty()) {
                return Ok(Some((data, (reader, pending, expected, None))));
            }
            loop {
                let bytes = match pending.take() {
                    Some(bytes) => Some(bytes),
                    None => reader.next_bytes().await?,
                };
                let Some(bytes) = bytes else { return Ok::<_, BoxError>(None) };
                let chunk = Received::decode(bytes)?;
                let head = ReceivedRequest::decode(chunk.head.unwrap_or_default())?;
                if !head.metadata.is_empty() || head.message.is_some() {
                    return Err("request metadata found in non-leading chunk".into());
                }
                let data = take(chunk.payload, &mut expected)?;
                if !data.is_empty() {
                    return Ok(Some((data, (reader, None, expected, None))));
                }
            }
        },
    )))
}

fn take(payload: Option<Payload>, expected: &mut u64) -> Result<Bytes, BoxError> {
    let Some(payload) = payload else { return Ok(Bytes::new()) };
    if payload.seq != *expected {
        return Err(
            format!("invalid sequence number received: {} (expected: {expected})", payload.seq).into()
        );
    }
    *expected += 1;
    Ok(payload.data)
}

async fn respond(mut answer: InvokeResponse) -> Response<Body> {
    let body = std::mem::take(&mut answer.body);
    let whole = body.length().is_some_and(|len| len <= WHOLE_ANSWER);
    if !whole {
        let head = futures::stream::iter([Ok(wire::response_frame(&wire_head(&answer, b""), None))]);
        return grpc_response(WithStatus::all(futures::StreamExt::chain(head, super::peer::payloads(body))));
    }
    match body.collect().await {
        Err(error) => Refusal::new(Code::Internal, error.to_string()).into_response(),
        Ok(data) => {
            let payload = (!data.is_empty()).then_some(&data[..]);
            let message = wire::response_frame(&wire_head(&answer, b""), payload);
            grpc_response(WithStatus::one(message))
        }
    }
}

/// The answer without its body; unary answers have their data in the head.
fn wire_head<'a>(answer: &'a InvokeResponse, data: &'a [u8]) -> ResponseHead<'a> {
    let (code, message, details, spelling) = match &answer.status {
        Status::Http(code) => (i32::from(*code), "", Bytes::new(), Spelling::Canonical),
        Status::Grpc { code, message, details } => {
            (*code as i32, message.as_str(), details.clone(), Spelling::Lower)
        }
    };
    ResponseHead {
        code,
        message,
        details,
        headers: Metadata { headers: &answer.headers, spelling, added: &[] },
        trailers: Metadata { headers: &answer.trailers, spelling, added: &[] },
        type_url: &answer.type_url,
        content_type: answer.content_type.as_ref(),
        data,
    }
}

fn grpc_response(messages: WithStatus) -> Response<Body> {
    let mut response = Response::new(Body::boxed(messages));
    let headers = response.headers_mut();
    headers.reserve(1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// Framed messages followed by the status trailer. A failure on the way ends
/// the stream with an error status, so that the caller does not take a cut
/// body for a whole one.
enum WithStatus {
    /// The usual answer: `None` once it was sent.
    One(Option<Bytes>),
    All(std::pin::Pin<Box<dyn futures::Stream<Item = Result<Bytes, BoxError>> + Send>>),
    Ended,
}

impl WithStatus {
    fn one(message: Bytes) -> Self {
        Self::One(Some(message))
    }

    fn all(messages: impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Self {
        Self::All(Box::pin(messages))
    }
}

impl http_body::Body for WithStatus {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        use std::task::Poll;
        let message = match &mut *self {
            Self::One(message) => message.take().map(Ok),
            Self::All(messages) => std::task::ready!(futures::Stream::poll_next(messages.as_mut(), cx)),
            Self::Ended => return Poll::Ready(None),
        };
        let status = match message {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(http_body::Frame::data(message)))),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        *self = Self::Ended;
        let mut trailers = HeaderMap::with_capacity(2);
        match status {
            Ok(()) => drop(trailers.insert(GRPC_STATUS, OK)),
            Err(error) => {
                trailers.insert(GRPC_STATUS, HeaderValue::from(Code::Internal as i32));
                if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(&error.to_string())) {
                    trailers.insert("grpc-message", message);
                }
            }
        }
        Poll::Ready(Some(Ok(http_body::Frame::trailers(trailers))))
    }
}

/// Serves one unary `CallLocal` call: callers that do not stream.
pub async fn call_local(
    channel: Option<AppChannel>,
    metrics: Option<&Catalogue>,
    called: Called<'_>,
    body: Body,
    limit: usize,
) -> Response<Body> {
    match unary(channel, metrics, called, body, limit).await {
        Ok(message) => grpc_response(WithStatus::one(message)),
        Err(refusal) => refusal.into_response(),
    }
}

async fn unary(
    channel: Option<AppChannel>,
    metrics: Option<&Catalogue>,
    called: Called<'_>,
    body: Body,
    limit: usize,
) -> Result<Bytes, Refusal> {
    let fail = |e: &dyn std::fmt::Display| Refusal::new(Code::Internal, e.to_string());
    // The message comes first, as wherever a gRPC server hands over whole messages.
    let head = match Reader::new(body, limit).next_bytes().await {
        Ok(head) => head.unwrap_or_default(),
        Err(FrameError::TooLarge { size, limit }) => {
            let reason = format!("grpc: received message larger than max ({size} vs. {limit})");
            return Err(Refusal::new(Code::ResourceExhausted, reason));
        }
        Err(e) => return Err(fail(&e)),
    };
    let channel = channel.ok_or_else(|| Refusal::new(Code::Internal, "app channel is not initialized"))?;
    let head = ReceivedRequest::decode(head).map_err(|e| unreadable(&FrameError::from(e)))?;
    let mut message = head.message.ok_or_else(|| invalid("message is nil"))?;
    let data = message.data.take().unwrap_or_default();
    let method = called.admit(&head.metadata, &mut message)?;
    let caller = metrics.map(|metrics| Caller::received(metrics, &head.metadata));
    let mut request = to_request(&channel, &head.metadata, message, method, Body::from(data))?;
    called.name(&mut request);
    let mut answer = channel
        .invoke(request)
        .await
        .inspect(|answer| answered(&caller, status_number(&answer.status)))
        .inspect_err(|_| answered(&caller, Code::Internal as u16))
        .map_err(|e| Refusal::new(Code::Internal, format!("error invoking app channel: {e}")))?;
    let data = std::mem::take(&mut answer.body).collect().await.map_err(|e| fail(&e))?;
    Ok(wire::unary_response_frame(&wire_head(&answer, &data)))
}
