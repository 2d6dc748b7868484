//! The API between sidecars (api.md §7.10).

use std::sync::Arc;

use dapr_blocks::invoke::{CALL_LOCAL_STREAM, Called, call_local, serve_stream};
use dapr_errors::Code;
use dapr_security::PeerIdentity;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::Span;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use futures::future::Either;
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

impl InternalApi {
    /// What sidecars call most.
    fn call_local_stream(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        let mut span = spans::begin_internal(&self.api.tracer, CALL_LOCAL_STREAM, request.headers());
        let (caller, mut body) = caller_and_body(request);
        async move {
            let (channel, metrics) = (self.api.invoke.app_channel(), self.metrics.as_deref());
            let called = self.called(&mut span, caller.as_ref());
            let body = std::mem::take(&mut body);
            let answer = serve_stream(channel, metrics, called, body, self.max_message).await;
            spans::until_end(span, answer)
        }
    }

    async fn call_local(&self, request: Request<Incoming>) -> Response<Body> {
        let mut span = spans::begin_internal(&self.api.tracer, request.uri().path(), request.headers());
        let (caller, body) = caller_and_body(request);
        let (channel, metrics) = (self.api.invoke.app_channel(), self.metrics.as_deref());
        let called = self.called(&mut span, caller.as_ref());
        let answer = call_local(channel, metrics, called, body, self.max_message).await;
        spans::until_end(span, answer)
    }

    async fn call_other(&self, mut request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        match path.strip_prefix(SERVICE) {
            Some("CallLocal") => self.call_local(request).await,
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

impl Service for InternalApi {
    fn call(&self, request: Request<Incoming>, _: Peer) -> impl Future<Output = Response<Body>> + Send {
        match request.uri().path() == CALL_LOCAL_STREAM {
            true => Either::Left(self.call_local_stream(request)),
            // Boxed: the most frequent call needs no room for the others.
            false => Either::Right(Box::pin(self.call_other(request))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<'a, F>(_: impl FnOnce(&'a InternalApi, Request<Incoming>, Peer) -> F) -> usize {
        size_of::<F>()
    }

    /// As for the HTTP API: every call from another sidecar allocates this.
    #[test]
    fn the_future_of_a_call_stays_small() {
        let size = size_of_future(<InternalApi as Service>::call);
        assert!(size <= 3072, "{size} bytes");
    }
}
