use std::future::ready;
use std::sync::Arc;

use crate::ApiAccess;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::server::{Peer, Service};
use dapr_transport::{Body, BoxError};
use dapr_wire::runtime::v1::dapr_server::DaprServer;
use futures::FutureExt as _;
use futures::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use tower_service::Service as _;

use super::access::{self, Access, denied};
use super::metrics::Served;
use super::reflection::Reflection;
use super::service::DaprService;
use super::{proxy, spans, status};
use crate::Api;

#[derive(Clone, Debug)]
pub struct Options {
    /// `DAPR_API_TOKEN`.
    pub token: Option<String>,
    pub access: ApiAccess,
    /// `--max-body-size`; 0 for no limit.
    pub max_message: usize,
    pub api_log: bool,
}

/// The application's gRPC API on one listener.
pub struct GrpcApi {
    api: Arc<Api>,
    access: Access,
    service: DaprServer<DaprService>,
    reflection: Reflection,
    api_log: bool,
    metrics: Option<Arc<Catalogue>>,
}

impl GrpcApi {
    pub fn new(api: Arc<Api>, options: Options, metrics: Option<Arc<Catalogue>>) -> Self {
        let limit = if options.max_message == 0 { usize::MAX } else { options.max_message };
        let service = DaprServer::new(DaprService::new(api.clone()))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        Self {
            api,
            access: Access::new(options.token, &options.access),
            service,
            reflection: Reflection::default(),
            api_log: options.api_log,
            metrics,
        }
    }

    /// Calls of our own service need no room for the other ways, which are boxed.
    fn answer(&self, mut request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        if let Err(refusal) = self.access.authorize(request.headers_mut()) {
            return Either::Left(ready(refusal).boxed());
        }
        let path = request.uri().path();
        match self.access.method(path) {
            Some(true) => {
                let headers_ahead = access::answers_with_headers(path);
                Either::Right(self.own(request).map(move |response| match headers_ahead {
                    true => status::with_headers_ahead(response),
                    false => response,
                }))
            }
            Some(false) => Either::Left(ready(denied()).boxed()),
            None if Reflection::serves(path) => Either::Left(self.reflection.call(request).boxed()),
            None => Either::Left(self.proxied(request).boxed()),
        }
    }

    async fn proxied(&self, mut request: Request<Incoming>) -> Response<Body> {
        let call = Served::proxied(self.metrics.as_ref(), request.uri(), request.headers());
        let traced = match proxy::begin_span(&self.api, &mut request) {
            Ok(traced) => traced,
            Err(refusal) => return refusal,
        };
        let response = proxy::from_app(&self.api, request.map(Body::from_incoming)).await;
        traced.response(match call {
            None => response,
            Some(call) => call.response(response),
        })
    }

    /// A method of our own service. It has begun before there is a future, which
    /// so holds no request.
    fn own(&self, mut request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        let uri = request.uri().clone();
        let traced = match spans::begin(&self.api.tracer, uri.path(), request.headers_mut()) {
            Ok(traced) => traced,
            Err(refusal) => return Either::Left(ready(refusal)),
        };
        if let Some(slot) = traced.slot() {
            request.extensions_mut().insert(slot);
        }
        let served = Served::unary(self.metrics.as_ref(), &uri);
        let mut service = self.service.clone();
        let answer = match &served {
            None => service.call(request),
            Some(served) => service.call(served.request(request)),
        };
        Either::Right(async move {
            let response = self.measured(served, unpack(answer.await));
            traced.response(status::with_usual_limit_error(response))
        })
    }

    fn measured(&self, served: Option<Served>, mut response: Response<Body>) -> Response<Body> {
        let counted = status::take_counted(response.headers_mut());
        let Some(served) = served else { return response };
        if let Some(counted) = counted
            && let Some(errors) = self.metrics.as_ref().and_then(|m| m.errors.as_ref())
            && let Some((category, code)) = counted.to_str().ok().and_then(|c| c.split_once('/'))
        {
            errors.record(category, code);
        }
        served.response(response)
    }

    async fn logged(&self, request: Request<Incoming>) -> Response<Body> {
        let started = std::time::Instant::now();
        let method = request.uri().path().to_owned();
        let agent =
            request.headers().get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let response = self.answer(request).await;
        let code = dapr_transport::grpc::status_of(response.headers()).map_or(0, |(code, _)| code);
        tracing::info!(
            target: "dapr.runtime.grpc.api-info",
            method,
            useragent = agent,
            duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            code,
            "gRPC API Called"
        );
        response
    }
}

impl Service for GrpcApi {
    fn call(&self, request: Request<Incoming>, _: Peer) -> impl Future<Output = Response<Body>> + Send {
        match self.api_log {
            true => Either::Right(Box::pin(self.logged(request))),
            false => Either::Left(self.answer(request)),
        }
    }
}

/// Generated services never fail; their body becomes ours.
pub fn unpack<B, E>(answer: Result<Response<B>, E>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: std::fmt::Display,
{
    match answer {
        Ok(response) => response.map(Body::boxed),
        Err(error) => super::status::response(dapr_errors::Code::Internal, &error.to_string(), &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<'a, F>(_: impl FnOnce(&'a GrpcApi, Request<Incoming>, Peer) -> F) -> usize {
        size_of::<F>()
    }

    /// As for the HTTP API: every call allocates this.
    #[test]
    fn the_future_of_a_call_stays_small() {
        let size = size_of_future(<GrpcApi as Service>::call);
        assert!(size <= 1024, "{size} bytes");
    }
}
