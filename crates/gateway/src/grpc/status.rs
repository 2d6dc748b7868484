use dapr_errors::{ApiError, Code};
use dapr_transport::{Body, grpc};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Carries category and code of an error from the handler, which generated
/// code surrounds, to where it is counted. It never leaves this process.
const COUNTED: &str = "dapr-internal-error-code";

/// A catalogue error as the status that generated services answer with.
pub fn from_api(error: &ApiError) -> Status {
    let error = error.own.as_deref().unwrap_or(error);
    let mut status = Status::with_details(
        tonic::Code::from_i32(error.code as i32),
        error.message.clone(),
        error.to_grpc_details(),
    );
    count(status.metadata_mut(), error);
    status
}

/// Marks an answer that tells about an error as one to be counted.
pub fn count(metadata: &mut MetadataMap, error: &ApiError) {
    if let Some(category) = error.category()
        && let Ok(counted) = format!("{category}/{}", error.tag).parse()
    {
        metadata.insert(COUNTED, counted);
    }
}

/// Category and code of the error that an answer is; takes them away.
pub fn take_counted(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(COUNTED)
}

/// An answer that is only a status, for calls that no generated service sees.
pub fn response(code: Code, message: &str, details: &[u8]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(message)) {
        headers.insert("grpc-message", message);
    }
    if !details.is_empty() {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert("grpc-status-details-bin", value);
        }
    }
    response
}

/// How generated code refuses a message that is too large: with a code of its
/// own, where gRPC servers elsewhere say that a resource is exhausted.
const TOO_LARGE: &str = "Error, decoded message length too large: found ";

/// The refusal of a message that is too large, in the usual terms.
pub fn with_usual_limit_error(response: Response<Body>) -> Response<Body> {
    let Some((code, text)) = grpc::status_of(response.headers()) else { return response };
    let Some(sizes) = text.strip_prefix(TOO_LARGE).filter(|_| code == Code::OutOfRange as i32) else {
        return response;
    };
    let mut numbers = sizes.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let (found, limit) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    self::response(Code::ResourceExhausted, &text, &[])
}

/// Sends a failure's metadata ahead as headers and its status as trailers. In
/// an answer that is only a status, clients take all of it for trailers, and
/// miss what they look for among the headers.
pub fn with_headers_ahead(response: Response<Body>) -> Response<Body> {
    const STATUS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    if !response.headers().contains_key(STATUS[0]) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let mut trailers = http::HeaderMap::with_capacity(STATUS.len());
    for name in STATUS {
        if let Some(value) = parts.headers.remove(name) {
            trailers.insert(name, value);
        }
    }
    let frame = http_body::Frame::<bytes::Bytes>::trailers(trailers);
    let frames = futures::stream::iter([Ok::<_, std::convert::Infallible>(frame)]);
    Response::from_parts(parts, Body::boxed(http_body_util::StreamBody::new(frames)))
}
