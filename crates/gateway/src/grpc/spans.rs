//! Tracing of the gRPC APIs (runtime.md §10).

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dapr_errors::Code;
use dapr_telemetry::trace::{BAGGAGE, GRPC_TRACE_BIN, Span, SpanKind, TraceContext, Tracer, propagation};
use dapr_transport::{Body, BodyError, grpc};
use dapr_wire::runtime::v1 as rt;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use super::status;

/// Metadata that applications mark to be seen in spans.
const MARKED: &str = "dapr-";
const TOKEN: &str = "dapr-api-token";
const INVOKE_SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/InvokeService";
/// Services whose spans are those of a server although applications call them.
const OURS: &str = "/dapr.proto.runtime.v1.Dapr/";
const OURS_INTERNAL: &str = "/dapr.proto.internals.";
const WORKFLOW: &str = "/TaskHubSidecarService";

/// The span of a call, where the handler of the decoded message finds it.
#[derive(Clone)]
pub struct Slot(Arc<Mutex<Span>>);

/// One call under way.
pub struct Traced {
    span: Option<Slot>,
    /// What the answer's `grpc-trace-bin` says; `None` for no such header.
    answer: Option<TraceContext>,
    baggage: Option<HeaderValue>,
}

/// Begins the span of a call of our own service and puts its context in the
/// place of the caller's. `Err` is the answer to invalid baggage.
pub fn begin(tracer: &Tracer, method: &str, headers: &mut HeaderMap) -> Result<Traced, Response<Body>> {
    let kind = if method.starts_with(WORKFLOW) { SpanKind::Server } else { SpanKind::Client };
    let mut traced = start(tracer, kind, method, headers, false)?;
    if method == INVOKE_SERVICE {
        traced.answer = None;
    }
    if let Some(slot) = &traced.span {
        let mut span = slot.0.lock();
        span.set("dapr.protocol", "grpc");
        span.set("dapr.api", method);
    }
    Ok(traced)
}

/// The same for a call that is passed on to an application: ours if `to_self`.
pub fn begin_proxied(
    tracer: &Tracer,
    to_self: bool,
    method: &str,
    headers: &mut HeaderMap,
) -> Result<Traced, Response<Body>> {
    let to_self = to_self || method.starts_with(WORKFLOW);
    let kind = if to_self { SpanKind::Server } else { SpanKind::Client };
    let mut traced = start(tracer, kind, method, headers, true)?;
    traced.answer = None;
    Ok(traced)
}

/// Whether tracing takes a method for one of the sidecar's own, there or not.
pub fn is_ours(method: &str) -> bool {
    [OURS, OURS_INTERNAL, WORKFLOW].iter().any(|prefix| method.starts_with(prefix))
}

/// `binary` adds the binary form even if the caller did not send it. Bindings,
/// which are given the caller's metadata, get no more than it sent.
fn start(
    tracer: &Tracer,
    kind: SpanKind,
    method: &str,
    headers: &mut HeaderMap,
    binary: bool,
) -> Result<Traced, Response<Body>> {
    if tracer.is_off() {
        return Ok(Traced { span: None, answer: None, baggage: None });
    }
    let baggage = match propagation::baggage(headers) {
        Ok(found) => found.and_then(|(_, parsed)| HeaderValue::try_from(parsed.to_string()).ok()),
        Err(error) => {
            let text = format!("invalid baggage header: {error}");
            return Err(status::response(Code::InvalidArgument, &text, &[]));
        }
    };
    let caller = propagation::grpc_parent(headers);
    let mut span = tracer.start(kind, caller.as_ref(), || method.to_owned());
    if span.is_recording() {
        mark(&mut span, headers);
    }
    match span.context() {
        Some(_) if binary || headers.contains_key(GRPC_TRACE_BIN) => span.write_grpc(headers),
        Some(_) => span.write_http(headers),
        None => propagation::normalize_grpc(headers),
    }
    let answer = Some(span.context().cloned().or(caller).unwrap_or_default());
    let span = span.is_recording().then(|| Slot(Arc::new(Mutex::new(span))));
    Ok(Traced { span, answer, baggage })
}

/// Begins the span of a call from another sidecar; its name is known once the
/// message is read.
pub fn begin_internal(tracer: &Tracer, method: &str, headers: &HeaderMap) -> Span {
    let caller = propagation::grpc_parent(headers);
    let mut span = tracer.start(SpanKind::Server, caller.as_ref(), || method.to_owned());
    if span.is_recording() {
        mark(&mut span, headers);
        span.set("dapr.protocol", "grpc");
        span.set("dapr.api", method);
    }
    span
}

fn mark(span: &mut Span, headers: &HeaderMap) {
    let marked = |n: &&http::HeaderName| {
        let name = n.as_str();
        name.starts_with(MARKED) && !name.ends_with("-bin") && name != TOKEN
    };
    for name in headers.keys().filter(marked) {
        let value = headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        span.set(name.as_str().to_owned(), value);
    }
}

impl Traced {
    /// What handlers of decoded messages add to; `None` when nobody would see.
    pub fn slot(&self) -> Option<Slot> {
        self.span.clone()
    }

    /// Adds the headers of the answer. The span ends with its body.
    pub fn response(self, mut response: Response<Body>) -> Response<Body> {
        if let Some(context) = &self.answer {
            propagation::write_binary(context, response.headers_mut());
        }
        if let Some(baggage) = self.baggage {
            response.headers_mut().insert(BAGGAGE, baggage);
        }
        match self.span {
            None => response,
            Some(slot) => {
                let span = std::mem::take(&mut *slot.0.lock());
                until_end(span, response)
            }
        }
    }
}

/// Ends `span` with the answer's status, which may be in its trailers.
pub fn until_end(mut span: Span, response: Response<Body>) -> Response<Body> {
    if !span.is_recording() {
        return response;
    }
    if let Some((code, message)) = grpc::status_of(response.headers()) {
        judge(&mut span, code, message);
        return response;
    }
    response.map(|body| Body::boxed(Ending { body, span }))
}

fn judge(span: &mut Span, code: i32, message: String) {
    if code != 0 {
        span.fail(message);
    }
}

/// A body that takes a span along, which ends with it.
struct Ending {
    body: Body,
    span: Span,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some((code, message)) = frame.trailers_ref().and_then(grpc::status_of) {
                    judge(&mut self.span, code, message);
                    self.span = Span::none();
                }
            }
            Some(Err(error)) => self.span.fail(error.to_string()),
            None => self.span = Span::none(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Slot {
    /// Adds what a message of the API says. Messages that stream say nothing.
    pub fn describe(&self, message: &dyn Any) {
        let span = &mut *self.0.lock();
        if let Some(m) = message.downcast_ref::<rt::InvokeServiceRequest>() {
            let method = m.message.as_ref().map_or("", |m| m.method.as_str());
            span.set("rpc.service", "ServiceInvocation");
            span.set("net.peer.name", m.id.as_str());
            span.rename(format!("CallLocal/{}/{method}", m.id));
        } else if let Some(m) = message.downcast_ref::<rt::PublishEventRequest>() {
            messaging(span, &m.topic);
        } else if let Some(m) = message.downcast_ref::<rt::BulkPublishRequest>() {
            messaging(span, &m.topic);
        } else if let Some(m) = message.downcast_ref::<rt::InvokeBindingRequest>() {
            database(span, "bindings", &m.name, "InvokeBinding");
        } else if let Some(m) = message.downcast_ref::<rt::GetStateRequest>() {
            database(span, "state", &m.store_name, "GetState");
        } else if let Some(m) = message.downcast_ref::<rt::SaveStateRequest>() {
            database(span, "state", &m.store_name, "SaveState");
        } else if let Some(m) = message.downcast_ref::<rt::DeleteStateRequest>() {
            database(span, "state", &m.store_name, "DeleteState");
        } else if let Some(m) = message.downcast_ref::<rt::GetSecretRequest>() {
            database(span, "secrets", &m.store_name, "GetSecret");
        } else if let Some(m) = message.downcast_ref::<rt::ConversationRequest>() {
            span.set("rpc.system", m.name.as_str());
        } else if let Some(m) = message.downcast_ref::<rt::ConversationRequestAlpha2>() {
            span.set("rpc.system", m.name.as_str());
        }
    }
}

fn messaging(span: &mut Span, topic: &str) {
    span.set("rpc.service", "Dapr");
    span.set("messaging.system", "pubsub");
    span.set("messaging.destination.name", topic);
}

fn database(span: &mut Span, system: &str, name: &str, method: &str) {
    span.set("db.name", name);
    span.set("rpc.service", "Dapr");
    span.set("db.system", system);
    span.set("db.statement", format!("/dapr.proto.runtime.v1.Dapr/{method}"));
    span.set("db.connection_string", system);
}
