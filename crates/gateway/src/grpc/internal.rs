//! The API between sidecars (api.md §7.10).

use std::sync::Arc;

use dapr_blocks::invoke::{CALL_LOCAL_STREAM, Called, call_local, serve_stream};
use dapr_errors::Code;
use dapr_security::PeerIdentity;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::Span;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use http::{Request, Response};
use hyper::body::Incoming;

use super::metrics::Served;
use super::reflection::Reflection;
use super::{proxy, spans, status};
use crate::Api;

const SERVICE: &str = "/dapr.proto.internals.v1.ServiceInvocation/";

/// What other sidecars call.
pub struct InternalApi {
    api: Arc<Api>,
    reflection: Reflection,
    /// Largest message in bytes; 0 for none.
    max_message: usize,
    metrics: Option<Arc<Catalogue>>,
}

impl InternalApi {
    pub fn new(api: Arc<Api>, max_message: usize, metrics: Option<Arc<Catalogue>>) -> Self {
        Self { api, reflection: Reflection::default(), max_message, metrics }
    }

    fn called<'a>(&'a self, span: &'a mut Span, caller: Option<&'a PeerIdentity>) -> Called<'a> {
        let caller = caller.map(PeerIdentity::id);
        Called { span, app_id: self.api.identity.app_id(), caller, access: self.api.invoke.access() }
    }
}

/// Who calls, with mTLS, and what.
fn caller_and_body(request: Request<Incoming>) -> (Option<PeerIdentity>, Body) {
    let (mut head, body) = request.into_parts();
    (head.extensions.remove::<PeerIdentity>(), Body::from_incoming(body))
}

impl Service for InternalApi {
    async fn call(&self, mut request: Request<Incoming>, _: Peer) -> Response<Body> {
        let path = request.uri().path();
        if path == CALL_LOCAL_STREAM {
            let mut span = spans::begin_internal(&self.api.tracer, path, request.headers());
            let (caller, body) = caller_and_body(request);
            let (channel, metrics) = (self.api.invoke.app_channel(), self.metrics.as_deref());
            let called = self.called(&mut span, caller.as_ref());
            let answer = serve_stream(channel, metrics, called, body, self.max_message).await;
            return spans::until_end(span, answer);
        }
        match path.strip_prefix(SERVICE) {
            Some("CallLocal") => {
                let mut span = spans::begin_internal(&self.api.tracer, path, request.headers());
                let (caller, body) = caller_and_body(request);
                let (channel, metrics) = (self.api.invoke.app_channel(), self.metrics.as_deref());
                let called = self.called(&mut span, caller.as_ref());
                let answer = call_local(channel, metrics, called, body, self.max_message).await;
                spans::until_end(span, answer)
            }
            Some("CallActor" | "CallActorStream" | "CallActorReminder") => {
                status::response(Code::Unimplemented, "this sidecar hosts no actors in this release", &[])
            }
            Some(_) => status::response(Code::Unimplemented, "unknown method", &[]),
            None if Reflection::serves(path) => self.reflection.call(request).await,
            None => {
                let call = Served::passed_on(self.metrics.as_ref(), request.uri(), request.headers());
                let traced = match proxy::begin_span(&self.api, &mut request) {
                    Ok(traced) => traced,
                    Err(refusal) => return refusal,
                };
                let response = proxy::from_peer(&self.api, request.map(Body::from_incoming)).await;
                traced.response(match call {
                    None => response,
                    Some(call) => call.response(response),
                })
            }
        }
    }
}
