//! The deprecated `InvokeService` method (api.md §7.6).

use dapr_app_channel::{InvokeRequest, InvokeResponse, Origin, Status as AppStatus};
use dapr_blocks::invoke::normalize;
use dapr_errors::{Code, Detail, invoke as errors};
use dapr_transport::Body;
use dapr_wire::common::v1::http_extension::Verb;
use dapr_wire::common::v1::{InvokeRequest as WireRequest, InvokeResponse as WireAnswer};
use dapr_wire::runtime::v1 as rt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::Api;

/// Longest part of an application's error body that a status quotes.
const QUOTED_BODY: usize = 63;

pub async fn invoke_service(
    api: &Api,
    request: Request<rt::InvokeServiceRequest>,
) -> Result<Response<WireAnswer>, Status> {
    let (metadata, _, request) = request.into_parts();
    let failed = |reason: &dyn std::fmt::Display| from_api(&errors::failed(&request.id, reason));
    if request.id.is_empty() {
        return Err(failed(&"app id is empty"));
    }
    let message = request.message.unwrap_or_default();
    let method = normalize(&message.method)
        .map_err(|e| failed(&dapr_errors::grpc_nested(Code::InvalidArgument, &e.to_string())))?;
    let call = to_request(metadata, method, message)?;
    let answer = api.invoke.invoke(request.id.as_str().into(), call).await.map_err(|error| failed(&error))?;
    respond(answer).await
}

fn to_request(metadata: MetadataMap, method: String, message: WireRequest) -> Result<InvokeRequest, Status> {
    let extension = message.http_extension.unwrap_or_default();
    let verb = match extension.verb() {
        Verb::None | Verb::Post => Method::POST,
        Verb::Get => Method::GET,
        Verb::Head => Method::HEAD,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
        Verb::Connect => return Err(Status::invalid_argument("invalid HTTP verb")),
        Verb::Options => Method::OPTIONS,
        Verb::Trace => Method::TRACE,
        Verb::Patch => Method::PATCH,
    };
    let mut headers = metadata.into_headers();
    headers.remove(http::header::TE);
    let data = message.data.unwrap_or_default();
    Ok(InvokeRequest {
        method,
        verb,
        query: extension.querystring,
        headers,
        content_type: HeaderValue::from_str(&message.content_type).ok().filter(|v| !v.is_empty()),
        type_url: data.type_url,
        origin: Origin::Grpc,
        body: Body::from(data.value),
    })
}

async fn respond(answer: InvokeResponse) -> Result<Response<WireAnswer>, Status> {
    let body = answer.body.collect().await.map_err(|e| Status::internal(e.to_string()))?;
    let mut headers = to_metadata(answer.headers);
    match answer.status {
        AppStatus::Http(code) => {
            if let Ok(value) = HeaderValue::try_from(code.to_string()) {
                headers.insert("dapr-http-status", value);
            }
            if !(200..300).contains(&code) {
                return Err(from_http(code, &body, headers));
            }
        }
        AppStatus::Grpc { code: Code::Ok, .. } => {}
        AppStatus::Grpc { code, message, details } => {
            return Err(Status::with_details_and_metadata(
                tonic::Code::from_i32(code as i32),
                message,
                details,
                MetadataMap::from_headers(headers),
            ));
        }
    }
    let content_type =
        answer.content_type.as_ref().and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut response = Response::new(WireAnswer {
        data: Some(prost_types::Any { type_url: answer.type_url, value: body.to_vec() }),
        content_type,
    });
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    Ok(response)
}

/// The status that an HTTP answer becomes (api.md §3.4).
fn from_http(code: u16, body: &[u8], headers: HeaderMap) -> Status {
    let text = dapr_gocompat::http_status::status_text(code);
    let quoted = String::from_utf8_lossy(&body[..body.len().min(QUOTED_BODY)]);
    let info = Detail::error_info_with(
        text,
        [("http.code", code.to_string().as_str()), ("http.error_message", &quoted)],
    );
    let grpc = Code::from_http_status(code);
    let error = dapr_errors::ApiError::rich("", code, grpc, text, vec![info]);
    Status::with_details_and_metadata(
        tonic::Code::from_i32(grpc as i32),
        text,
        error.to_grpc_details(),
        MetadataMap::from_headers(headers),
    )
}

/// Permanent HTTP names travel with a prefix.
fn to_metadata(headers: HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in &headers {
        let name = if dapr_app_channel::is_permanent(name) {
            HeaderName::try_from(format!("dapr-{name}")).unwrap_or_else(|_| name.clone())
        } else {
            name.clone()
        };
        out.append(name, value.clone());
    }
    out
}
