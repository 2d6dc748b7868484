//! Service invocation over HTTP: where every unmatched request ends
//! (api.md §7.1, §7.5).

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use dapr_app_channel::{InvokeRequest, InvokeResponse, Origin, Status};
use dapr_blocks::invoke::{InvokeError, from_http, normalize, strip_hop_by_hop};
use dapr_errors::{ApiError, Code, invoke as errors};
use dapr_transport::Body;
use futures::FutureExt;
use futures::future::Either;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use prost::Message;

use super::call::Call;
use super::reply;
use super::routes::Answer;
use super::spans::{Traced, unescaped};
use crate::Api;

/// All that can be done before the call itself is, so that the future holds no
/// more than that. `traced` learns what is called.
pub fn fallback(api: &Api, call: Call, traced: &mut Traced) -> Answer {
    let wants_events = call.header("accept").is_some_and(|v| v.contains("text/event-stream"));
    let (target, request) = match to_request(call) {
        Ok(found) => found,
        Err(error) => return Box::pin(ready(reply::error(&error))),
    };
    traced.invokes(&target, &request.method);
    let answer = api.invoke.invoke(target.clone(), request);
    // `then` keeps the call where it is; an async block would lay it out twice.
    Box::pin(answer.then(move |answer| match answer {
        Ok(answer) if answer.body.as_full().is_some() => Either::Left(ready(respond(answer, wants_events))),
        // Boxed: most answers are all here with their head.
        Ok(answer) => Either::Right(Box::pin(stream(answer, target, wants_events))),
        Err(error) => Either::Left(ready(reply::error(&failed(&target, &error)))),
    }))
}

fn to_request(mut call: Call) -> Result<(Arc<str>, InvokeRequest), ApiError> {
    let path = unescaped(call.uncleaned.as_deref().unwrap_or(&call.path)).ok_or_else(errors::no_app_id)?;
    let (target, method) = from_http(&path, &mut call.headers).ok_or_else(errors::no_app_id)?;
    let method = normalize(&method).map_err(|e| {
        errors::failed(&target, dapr_errors::grpc_nested(Code::InvalidArgument, &e.to_string()))
    })?;
    let target = Arc::from(target);
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
    Ok((target, request))
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

/// An answer whose body is still to come.
async fn stream(mut answer: InvokeResponse, target: Arc<str>, wants_events: bool) -> Response<Body> {
    match whole(std::mem::take(&mut answer.body)).await {
        Ok(body) => {
            answer.body = body;
            respond(answer, wants_events)
        }
        Err(error) => reply::error(&errors::failed(&target, error)),
    }
}

fn respond(mut answer: InvokeResponse, wants_events: bool) -> Response<Body> {
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
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = answer.headers;
    let headers = response.headers_mut();
    if wants_events && (200..300).contains(&status) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        return response;
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
    response
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
