//! Tracing of the HTTP API: the span of a request, baggage, and the trace
//! headers of its answer (runtime.md §10).

use std::borrow::Cow;

use dapr_telemetry::trace::{
    BAGGAGE, Span, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, Tracer, propagation,
};
use dapr_transport::Body;
use dapr_transport::server::Peer;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use super::call::{Call, Params};
use super::reply;
use super::routes::Route;

/// What an answer carries when there is no trace (runtime.md §18.1).
const ZERO_TRACEPARENT: HeaderValue =
    HeaderValue::from_static("00-00000000000000000000000000000000-0000000000000000-00");
/// Headers that applications mark to be seen in spans.
const MARKED: &str = "dapr-";
const TOKEN: &str = "dapr-api-token";

/// One request under way.
pub struct Traced {
    span: Span,
    /// The caller's context, where it is passed on as it came.
    caller: Option<TraceContext>,
    baggage: Option<HeaderValue>,
    /// Whether the answer gets trace headers at all.
    answers: bool,
}

/// Begins the span of a request and puts its context in the place of the
/// caller's. `Err` is the answer to invalid baggage.
pub fn begin(tracer: &Tracer, parts: &mut Parts, peer: Peer) -> Result<Traced, Response<Body>> {
    if tracer.is_off() || parts.uri.path().contains("/healthz") {
        return Ok(Traced { span: Span::none(), caller: None, baggage: None, answers: false });
    }
    let baggage = match propagation::baggage(&parts.headers) {
        Ok(found) => found.and_then(|(list, _)| HeaderValue::try_from(list).ok()),
        Err(error) => {
            let text = format!("invalid baggage header: {error}\n");
            return Err(reply::text(StatusCode::BAD_REQUEST, text));
        }
    };
    let caller = propagation::http_parent(&parts.headers);
    let mut span = tracer.start(SpanKind::Client, caller.as_ref(), || decoded(parts.uri.path()).into_owned());
    if span.is_recording() {
        describe(&mut span, parts, peer);
    }
    span.write_http(&mut parts.headers);
    Ok(Traced { span, caller, baggage, answers: true })
}

fn decoded(path: &str) -> Cow<'_, str> {
    unescaped(path).unwrap_or(Cow::Borrowed(path))
}

/// A path without escapes, which most have none of; `None` if one is broken.
pub fn unescaped(path: &str) -> Option<Cow<'_, str>> {
    match path.contains('%') {
        true => dapr_gocompat::urlesc::path_unescape(path).ok().map(Cow::Owned),
        false => Some(Cow::Borrowed(path)),
    }
}

/// What is known from the request alone.
fn describe(span: &mut Span, parts: &Parts, peer: Peer) {
    for name in parts.headers.keys().filter(|n| n.as_str().starts_with(MARKED) && n.as_str() != TOKEN) {
        let last = parts.headers.get_all(name).iter().next_back();
        span.set(name.as_str().to_owned(), last.and_then(|v| v.to_str().ok()).unwrap_or_default());
    }
    span.set("dapr.protocol", "http");
    span.set("dapr.api", format_args!("{} {}", parts.method, decoded(parts.uri.path())));
    span.set("http.request.method", parts.method.as_str());
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    span.set("url.full", target);
    if let Some(address) = peer.0 {
        span.set("server.address", address.ip());
        span.set("server.port", address.port());
    }
}

impl Traced {
    /// Adds what the route says about the request.
    pub fn routed(&mut self, route: &Route, params: &Params, call: &Call) {
        let span = &mut self.span;
        if !span.is_recording() {
            return;
        }
        let (system, name) = match route.group {
            "state" => ("state", params.get("store")),
            "secrets" => ("secrets", params.get("store")),
            "bindings" => ("bindings", params.get("name")),
            "publish" => {
                span.set("messaging.system", "pubsub");
                span.set("messaging.destination.name", params.get("topic"));
                return;
            }
            "actors" => return actor(span, route, params, call),
            _ => return,
        };
        database(span, system, name, call);
    }

    /// Adds target and method of a service invocation, which only its handler
    /// knows.
    pub fn invokes(&mut self, target: &str, method: &str) {
        self.span.set("rpc.service", "ServiceInvocation");
        self.span.set("net.peer.name", target);
        self.span.rename(format_args!("CallLocal/{target}/{method}"));
    }

    /// Ends the span and adds trace headers that the answer lacks.
    pub fn end(mut self, response: &mut Response<Body>) {
        if !self.answers {
            return;
        }
        let status = response.status().as_u16();
        if self.span.is_recording() {
            self.span.set("dapr.status_code", status);
            self.span.http_status(status);
        }
        let headers = response.headers_mut();
        if let Some(baggage) = self.baggage {
            headers.insert(BAGGAGE, baggage);
        }
        if headers.contains_key(TRACEPARENT) {
            return;
        }
        let state = headers.get(TRACESTATE).cloned();
        match self.span.context().or(self.caller.as_ref()) {
            Some(context) => propagation::write_http(context, headers),
            None => drop(headers.insert(TRACEPARENT, ZERO_TRACEPARENT)),
        }
        // An application may answer with a state of its own.
        if let Some(state) = state {
            headers.insert(TRACESTATE, state);
        }
    }
}

fn database(span: &mut Span, system: &str, name: &str, call: &Call) {
    span.set("db.system", system);
    span.set("db.connection_string", system);
    span.set("db.statement", format_args!("{} {}", call.method, decoded(&call.path)));
    span.set("db.name", name);
}

fn actor(span: &mut Span, route: &Route, params: &Params, call: &Call) {
    let actor = format!("{}.{}", params.get("type"), params.get("id"));
    span.set("dapr.actor", &actor);
    if route.name == "InvokeActor" {
        span.set("rpc.service", "ServiceInvocation");
        span.set("net.peer.name", actor);
        span.rename(format_args!("CallActor/{}/{}", params.get("type"), params.get("method")));
    } else {
        database(span, "state", "actor", call);
    }
}
