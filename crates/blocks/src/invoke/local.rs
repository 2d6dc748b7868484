//! The callee's half of the sidecar-to-sidecar stream (api.md §7.10).

use bytes::Bytes;
use dapr_app_channel::{AppChannel, InvokeRequest, InvokeResponse, Origin, Status};
use dapr_errors::Code;
use dapr_security::spiffe::SpiffeId;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::{GRPC_TRACE_BIN, Span, propagation};
use dapr_transport::grpc::{self, Reader};
use dapr_transport::{Body, BoxError};
use dapr_wire::common::v1::http_extension::Verb;
use dapr_wire::common::v1::{InvokeResponse as WireAnswer, StreamPayload};
use dapr_wire::internals::v1::{
    InternalInvokeRequest, InternalInvokeRequestStream, InternalInvokeResponse, InternalInvokeResponseStream,
    ListStringValue, Status as WireStatus,
};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use prost::Message;

use super::access::AccessGuard;
use super::headers::{Spelling, from_wire, to_wire};
use super::method::normalize;
use super::service::status_number;

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
    let mut reader = Reader::new(body, limit);
    let first = reader
        .next::<InternalInvokeRequestStream>()
        .await
        .map_err(|e| Refusal::new(Code::Internal, e.to_string()))?
        .unwrap_or_default();
    let head = first
        .request
        .filter(|r| !r.metadata.is_empty() && r.message.is_some())
        .ok_or_else(|| invalid("request does not contain the required fields in the leading chunk"))?;
    let body = request_body(first.payload, reader).map_err(|e| invalid(&e.to_string()))?;
    let method = called.admit(&head)?;
    let caller = metrics.map(|metrics| Caller::received(metrics, &head));
    let mut request = to_request(head, method, body)?;
    called.name(&mut request);
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

/// The calling application, as metrics name it.
struct Caller<'a> {
    metrics: &'a Catalogue,
    id: String,
}

impl<'a> Caller<'a> {
    /// Counts a request that has arrived.
    fn received(metrics: &'a Catalogue, head: &InternalInvokeRequest) -> Self {
        let ids = head.metadata.get("dapr-caller-app-id");
        let id = ids.and_then(|list| list.values.first()).map_or("unknown", String::as_str).to_owned();
        metrics.invocation.request_received(&id);
        Self { metrics, id }
    }
}

fn answered(caller: &Option<Caller<'_>>, status: u16) {
    if let Some(caller) = caller {
        caller.metrics.invocation.response_sent(&caller.id, status);
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
    fn admit(&self, head: &InternalInvokeRequest) -> Result<String, Refusal> {
        let given = head.message.as_ref().map(|m| m.method.as_str()).unwrap_or_default();
        let method = normalize(given).map_err(|e| Refusal::new(Code::InvalidArgument, e.to_string()))?;
        if let Some(access) = self.access {
            access
                .admit_call(self.caller, head, &method)
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
            span.rename(format!("CallLocal/{app_id}/{}", request.method));
        }
        let headers = &mut request.headers;
        match span.context() {
            None => propagation::normalize_grpc(headers),
            Some(_) if headers.contains_key(GRPC_TRACE_BIN) => span.write_grpc(headers),
            Some(_) => span.write_http(headers),
        }
    }
}

fn invalid(reason: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("parsing InternalInvokeRequest error: {reason}"))
}

/// `method` is normalised.
fn to_request(head: InternalInvokeRequest, method: String, body: Body) -> Result<InvokeRequest, Refusal> {
    let message = head.message.unwrap_or_default();
    let extension = message.http_extension.unwrap_or_default();
    let origin = if is_grpc(&head.metadata) { Origin::Grpc } else { Origin::Http };
    let mut headers = from_wire(head.metadata, origin == Origin::Grpc);
    if body.as_full().is_some() || http_body::Body::is_end_stream(&body) {
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(InvokeRequest {
        method,
        verb: method_of(extension.verb())?,
        query: extension.querystring,
        headers,
        content_type: HeaderValue::from_str(&message.content_type).ok().filter(|v| !v.is_empty()),
        type_url: message.data.map(|d| d.type_url).unwrap_or_default(),
        origin,
        body,
    })
}

fn is_grpc(metadata: &std::collections::HashMap<String, ListStringValue>) -> bool {
    metadata
        .get("content-type")
        .and_then(|list| list.values.first())
        .is_some_and(|v| v.starts_with("application/grpc"))
}

fn method_of(verb: Verb) -> Result<Method, Refusal> {
    Ok(match verb {
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
fn request_body(first: Option<StreamPayload>, mut reader: Reader) -> Result<Body, BoxError> {
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
                let chunk = InternalInvokeRequestStream::decode(bytes)?;
                if chunk.request.is_some_and(|r| !r.metadata.is_empty() || r.message.is_some()) {
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

fn take(payload: Option<StreamPayload>, expected: &mut u64) -> Result<Bytes, BoxError> {
    let Some(payload) = payload else { return Ok(Bytes::new()) };
    if payload.seq != *expected {
        return Err(
            format!("invalid sequence number received: {} (expected: {expected})", payload.seq).into()
        );
    }
    *expected += 1;
    Ok(payload.data)
}

async fn respond(answer: InvokeResponse) -> Response<Body> {
    let (head, body) = wire_head(answer);
    let whole = match body.length() {
        Some(len) if len <= WHOLE_ANSWER => Some(body),
        _ => return grpc_response(stream_answer(head, body)),
    };
    let data = match whole.unwrap_or_default().collect().await {
        Ok(data) => data,
        Err(error) => return Refusal::new(Code::Internal, error.to_string()).into_response(),
    };
    let payload = (!data.is_empty()).then_some(StreamPayload { data, seq: 0 });
    let message = InternalInvokeResponseStream { response: Some(head), payload };
    grpc_response(futures::stream::iter([Ok(grpc::frame(&message))]))
}

/// The answer without its data, and the data.
pub(super) fn wire_head(answer: InvokeResponse) -> (InternalInvokeResponse, Body) {
    let (status, spelling) = match answer.status {
        Status::Http(code) => (
            WireStatus { code: i32::from(code), message: String::new(), details: Vec::new() },
            Spelling::Canonical,
        ),
        Status::Grpc { code, message, details } => {
            let details =
                dapr_wire::google::rpc::Status::decode(details).map(|s| s.details).unwrap_or_default();
            (WireStatus { code: code as i32, message, details }, Spelling::Lower)
        }
    };
    let content_type =
        answer.content_type.as_ref().and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let head = InternalInvokeResponse {
        status: Some(status),
        headers: to_wire(&answer.headers, spelling),
        trailers: to_wire(&answer.trailers, spelling),
        message: Some(WireAnswer {
            data: Some(prost_types::Any { type_url: answer.type_url, value: Vec::new() }),
            content_type,
        }),
    };
    (head, answer.body)
}

fn stream_answer(
    head: InternalInvokeResponse,
    body: Body,
) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
    let first = InternalInvokeResponseStream { response: Some(head), payload: None };
    let rest = super::peer::payloads(body, |payload| {
        grpc::frame(&InternalInvokeResponseStream { response: None, payload: Some(payload) })
    });
    futures::StreamExt::chain(futures::stream::iter([Ok(grpc::frame(&first))]), rest)
}

fn grpc_response(
    messages: impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(Body::boxed(WithStatus::new(messages)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

type Messages = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Framed messages followed by the status trailer. A failure on the way ends
/// the stream with an error status, so that the caller does not take a cut
/// body for a whole one.
struct WithStatus {
    messages: Option<Messages>,
}

impl WithStatus {
    fn new(messages: impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Self {
        Self { messages: Some(Box::pin(messages)) }
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
        let Some(messages) = self.messages.as_mut() else { return Poll::Ready(None) };
        let status = match std::task::ready!(futures::Stream::poll_next(messages.as_mut(), cx)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(http_body::Frame::data(message)))),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        self.messages = None;
        let mut trailers = HeaderMap::with_capacity(2);
        let code = if status.is_ok() { Code::Ok } else { Code::Internal };
        trailers.insert("grpc-status", HeaderValue::from(code as i32));
        if let Err(error) = status
            && let Ok(message) = HeaderValue::try_from(grpc::percent_encode(&error.to_string()))
        {
            trailers.insert("grpc-message", message);
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
        Ok(message) => grpc_response(futures::stream::iter([Ok(grpc::frame(&message))])),
        Err(refusal) => refusal.into_response(),
    }
}

async fn unary(
    channel: Option<AppChannel>,
    metrics: Option<&Catalogue>,
    called: Called<'_>,
    body: Body,
    limit: usize,
) -> Result<InternalInvokeResponse, Refusal> {
    let channel = channel.ok_or_else(|| Refusal::new(Code::Internal, "app channel is not initialized"))?;
    let fail = |e: &dyn std::fmt::Display| Refusal::new(Code::Internal, e.to_string());
    let head: InternalInvokeRequest =
        Reader::new(body, limit).next().await.map_err(|e| fail(&e))?.unwrap_or_default();
    let data = head
        .message
        .as_ref()
        .ok_or_else(|| invalid("message is nil"))?
        .data
        .as_ref()
        .map(|any| Bytes::copy_from_slice(&any.value))
        .unwrap_or_default();
    let method = called.admit(&head)?;
    let caller = metrics.map(|metrics| Caller::received(metrics, &head));
    let mut request = to_request(head, method, Body::from(data))?;
    called.name(&mut request);
    let answer = channel
        .invoke(request)
        .await
        .inspect(|answer| answered(&caller, status_number(&answer.status)))
        .inspect_err(|_| answered(&caller, Code::Internal as u16))
        .map_err(|e| Refusal::new(Code::Internal, format!("error invoking app channel: {e}")))?;
    let (mut head, body) = wire_head(answer);
    let data = body.collect().await.map_err(|e| fail(&e))?;
    if let Some(any) = head.message.as_mut().and_then(|m| m.data.as_mut()) {
        any.value = data.to_vec();
    }
    Ok(head)
}
