//! Service invocation over HTTP: where every unmatched request ends
//! (api.md §7.1, §7.5).

use std::sync::Arc;

use bytes::Bytes;
use dapr_app_channel::{InvokeRequest, InvokeResponse, Origin, Status};
use dapr_blocks::invoke::{InvokeError, from_http, normalize, strip_hop_by_hop};
use dapr_errors::{ApiError, Code, invoke as errors};
use dapr_transport::Body;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use prost::Message;

use super::call::Call;
use super::reply;
use super::spans::Invoked;
use crate::Api;

pub async fn fallback(api: &Arc<Api>, call: Call) -> Response<Body> {
    let mut invoked = None;
    let mut response = match invoke(api, call, &mut invoked).await {
        Ok(response) => response,
        Err(error) => reply::error(&error),
    };
    if let Some(invoked) = invoked {
        response.extensions_mut().insert(invoked);
    }
    response
}

/// `invoked` becomes what the request's span shows.
async fn invoke(
    api: &Api,
    mut call: Call,
    invoked: &mut Option<Invoked>,
) -> Result<Response<Body>, ApiError> {
    let path = call.uncleaned.as_deref().unwrap_or(&call.path);
    let path = dapr_gocompat::urlesc::path_unescape(path).map_err(|_| errors::no_app_id())?;
    let (target, method) = from_http(&path, &mut call.headers).ok_or_else(errors::no_app_id)?;
    let method = normalize(&method).map_err(|e| {
        errors::failed(&target, dapr_errors::grpc_nested(Code::InvalidArgument, &e.to_string()))
    })?;
    if api.tracer.is_active() && dapr_telemetry::trace::propagation::is_sampled(&call.headers) {
        *invoked = Some(Invoked { target: target.clone(), method: method.clone() });
    }
    let wants_events = call.header("accept").is_some_and(|v| v.contains("text/event-stream"));
    let mut headers = call.headers;
    strip_hop_by_hop(&mut headers);
    headers.remove(HOST);
    drop_binary(&mut headers);
    let content_type = headers.remove(CONTENT_TYPE);
    let request = InvokeRequest {
        method,
        verb: call.method,
        query: call.query,
        headers,
        content_type,
        type_url: String::new(),
        origin: Origin::Http,
        body: call.body,
    };
    match api.invoke.invoke(&target, request).await {
        Ok(answer) => respond(answer, wants_events).await.map_err(|e| errors::failed(&target, e)),
        Err(error) => Err(failed(&target, &error)),
    }
}

fn failed(target: &str, error: &InvokeError) -> ApiError {
    if error.code == Code::PermissionDenied {
        errors::denied(target, error)
    } else {
        errors::failed(target, error)
    }
}

fn drop_binary(headers: &mut HeaderMap) {
    let binary: Vec<_> = headers.keys().filter(|n| n.as_str().ends_with("-bin")).cloned().collect();
    for name in binary {
        headers.remove(name);
    }
}

async fn respond(mut answer: InvokeResponse, wants_events: bool) -> Result<Response<Body>, String> {
    strip_hop_by_hop(&mut answer.headers);
    answer.headers.remove(CONTENT_LENGTH);
    drop_binary(&mut answer.headers);
    let (status, body) = match &answer.status {
        Status::Http(status) => (*status, answer.body),
        Status::Grpc { code: Code::Ok, .. } => (200, answer.body),
        Status::Grpc { code, message, details } => {
            answer.content_type = Some(HeaderValue::from_static("application/json"));
            (code.http_status(), Body::from(status_json(*code, message, details)))
        }
    };
    let body = whole(body).await?;
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = answer.headers;
    let headers = response.headers_mut();
    if wants_events && (200..300).contains(&status) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        return Ok(response);
    }
    match answer.content_type {
        Some(content_type) => {
            headers.insert(CONTENT_TYPE, content_type);
        }
        None if !(200..400).contains(&status) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        None => {}
    }
    Ok(response)
}

/// Answers up to this size are read before they are passed on.
const WHOLE_ANSWER: u64 = 64 * 1024;

/// Short answers become one write; longer ones stream without a length of
/// their own, because the application's may not be what arrives.
async fn whole(body: Body) -> Result<Body, String> {
    match body.length() {
        Some(len) if len <= WHOLE_ANSWER => body.collect().await.map(Body::from).map_err(|e| e.to_string()),
        Some(_) => Ok(body.without_length()),
        None => Ok(body),
    }
}

/// proto3 JSON of the status between sidecars.
fn status_json(code: Code, message: &str, details: &Bytes) -> String {
    let mut out = format!("{{\"code\":{}", code as i32);
    if !message.is_empty() {
        out.push_str(",\"message\":");
        out.push_str(&dapr_gocompat::json::escape_str(message));
    }
    let details =
        dapr_wire::google::rpc::Status::decode(details.clone()).map(|s| s.details).unwrap_or_default();
    if !details.is_empty() {
        use base64::Engine;
        let items: Vec<String> = details
            .iter()
            .map(|any| {
                let value = base64::engine::general_purpose::STANDARD.encode(&any.value);
                format!(
                    "{{\"@type\":{},\"value\":\"{value}\"}}",
                    dapr_gocompat::json::escape_str(&any.type_url)
                )
            })
            .collect();
        out.push_str(&format!(",\"details\":[{}]", items.join(",")));
    }
    out.push('}');
    out
}
