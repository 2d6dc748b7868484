//! Answers of the HTTP API.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use dapr_errors::ApiError;
use dapr_transport::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub fn no_content() -> Response<Body> {
    status(StatusCode::NO_CONTENT)
}

/// A bare status without a body.
pub fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 200 with JSON.
pub fn json(body: impl Into<Bytes>) -> Response<Body> {
    json_with(StatusCode::OK, body)
}

pub fn json_with(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Plain text, such as the router's own errors.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

pub fn error(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_with(status, error.to_json());
    if let Some(category) = error.category() {
        response.extensions_mut().insert(Counted { category, code: error.tag.clone() });
    }
    response
}

/// What the error code metric counts an answer as: an extension of it.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub category: &'static str,
    pub code: Cow<'static, str>,
}

/// Adds response metadata as `metadata.<k>` headers; what cannot be a header
/// is left out.
pub fn add_metadata(response: &mut Response<Body>, metadata: &HashMap<String, String>) {
    for (key, value) in metadata {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(format!("metadata.{key}")), HeaderValue::try_from(value.as_str()))
        {
            response.headers_mut().insert(name, value);
        }
    }
}
