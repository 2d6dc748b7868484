//! The transparent proxy: calls of services that are not ours go to an
//! application, ours or another's, without being decoded (api.md §7.7).

use dapr_blocks::invoke::{Callee, Unanswered, normalized};
use dapr_errors::Code;
use dapr_security::PeerIdentity;
use dapr_transport::Body;
use dapr_transport::client::{ClientError, H2Channel};
use http::header::{CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};

use super::metrics::Unreached;
use super::spans::{self, Traced};
use super::status;
use crate::Api;

const CALLEE: &str = "dapr-callee-app-id";
const TARGET: &str = "dapr-app-id";
const CALLER: &str = "dapr-caller-app-id";
const TOKEN: &str = "dapr-api-token";
/// A call without a target, where tracing looks for it first.
const UNTRACEABLE: &str = "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata";

/// Begins the span of a call that is passed on; `Err` is the answer to invalid
/// baggage.
pub fn begin_span<B>(api: &Api, request: &mut Request<B>) -> Result<Traced, Response<Body>> {
    let target = target(request.headers());
    if target.is_none() && !api.tracer.is_off() && !spans::is_ours(request.uri().path()) {
        return Err(status::response(Code::Unknown, UNTRACEABLE, &[]));
    }
    let to_self = target.is_some_and(|id| id == api.identity.app_id());
    let uri = request.uri().clone();
    spans::begin_proxied(&api.tracer, to_self, uri.path(), request.headers_mut())
}

/// A call that arrived on the application's port.
pub async fn from_app(api: &Api, mut request: Request<Body>) -> Response<Body> {
    let headers = request.headers_mut();
    let target = match target(headers) {
        Some(target) => target,
        None => return missing_target(),
    };
    let named = headers.remove(TARGET);
    headers.remove(CALLEE);
    let own = api.identity.app_id();
    let (id, namespace) = target.split_once('.').unwrap_or((&target, api.identity.namespace()));
    if id == own {
        return to_app(api, request).await;
    }
    let headers = request.headers_mut();
    set(headers, CALLER, own);
    set(headers, CALLEE, id);
    let named = named.as_ref().and_then(|v| v.to_str().ok());
    match api.invoke.pass_on(Callee { id, namespace, named }, request).await {
        Ok(response) => response,
        Err(Unanswered { code, message, reached }) => {
            let mut response = status::response(code, &message, &[]);
            if !reached {
                response.extensions_mut().insert(Unreached);
            }
            response
        }
    }
}

/// A call that arrived from another sidecar.
pub async fn from_peer(api: &Api, mut request: Request<Body>) -> Response<Body> {
    if target(request.headers()).is_none() {
        return missing_target();
    }
    request.headers_mut().remove(TARGET);
    to_app(api, request).await
}

async fn to_app(api: &Api, mut request: Request<Body>) -> Response<Body> {
    if let Err(reason) = clean(request.uri_mut()) {
        return status::response(Code::InvalidArgument, &reason, &[]);
    }
    if let Some(access) = api.invoke.access() {
        let caller = PeerIdentity::of(request.extensions());
        if let Err(denied) = access.admit_proxied(caller, request.uri().path()) {
            return status::response(Code::PermissionDenied, &denied.0, &[]);
        }
    }
    let Some(channel) = api.invoke.app_channel() else {
        return status::response(Code::Internal, "app channel is not initialized", &[]);
    };
    if !channel.health().takes_calls() {
        return status::response(Code::Internal, "app is not in a healthy state", &[]);
    }
    let Some(grpc) = channel.grpc() else {
        return status::response(
            Code::Internal,
            "cannot proxy a gRPC call: the application does not speak gRPC",
            &[],
        );
    };
    request.headers_mut().remove(TOKEN);
    if let Some((name, value)) = grpc.token_header() {
        request.headers_mut().insert(name, value);
    }
    let slot = channel.slot().await;
    let response = forward(grpc.channel(), request).await;
    match slot {
        None => response,
        Some(slot) => response.map(|body| body.guarded(slot)),
    }
}

/// Normalises the method: what is judged is what the application gets.
fn clean(uri: &mut Uri) -> Result<(), String> {
    let given = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = given.strip_prefix('/').unwrap_or(given);
    let cleaned = normalized(rest).map_err(|e| e.to_string())?;
    let cleaned = cleaned.trim_start_matches('/');
    if cleaned == rest {
        return Ok(());
    }
    let path = PathAndQuery::try_from(format!("/{cleaned}")).map_err(|e| format!("invalid method: {e}"))?;
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(path);
    *uri = Uri::from_parts(parts).map_err(|e| format!("invalid method: {e}"))?;
    Ok(())
}

async fn forward(channel: &H2Channel, mut request: Request<Body>) -> Response<Body> {
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    let reason = match channel.send(request).await {
        Ok(response) => return response,
        Err(ClientError::Connect(error)) => {
            format!("connection error: desc = \"transport: Error while dialing: {error}\"")
        }
        Err(ClientError::Broken(error)) => error.to_string(),
    };
    let mut response = status::response(Code::Unavailable, &reason, &[]);
    response.extensions_mut().insert(Unreached);
    response
}

fn target(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CALLEE).or_else(|| headers.get(TARGET))?;
    value.to_str().ok().filter(|v| !v.is_empty()).map(str::to_owned)
}

fn missing_target() -> Response<Body> {
    status::response(
        Code::Unknown,
        "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found",
        &[],
    )
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
