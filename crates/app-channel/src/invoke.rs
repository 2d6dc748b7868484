use bytes::Bytes;
use dapr_errors::Code;
use dapr_transport::Body;
use dapr_transport::client::ClientError;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

/// Which protocol a request or answer came from; decides how header names are
/// spelled on the wire between sidecars (api.md §13.30).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Http,
    Grpc,
}

/// A service invocation on its way to an application, whatever protocol it
/// came in and whatever protocol the application speaks.
#[derive(Debug)]
pub struct InvokeRequest {
    /// Normalised path without a leading slash, percent-decoded.
    pub method: String,
    pub verb: Method,
    /// Query string as sent, without the question mark.
    pub query: String,
    /// Headers or metadata, without content type and without hop-by-hop ones.
    pub headers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    /// Fully qualified type of the data, for gRPC callers; usually empty.
    pub type_url: String,
    pub origin: Origin,
    pub body: Body,
}

/// How the application answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    Http(u16),
    /// A gRPC status with the encoded `google.rpc.Status` when it had details.
    Grpc {
        code: Code,
        message: String,
        details: Bytes,
    },
}

impl Status {
    /// Whether a retry policy sees this answer as a success.
    pub fn is_success(&self) -> bool {
        match self {
            Status::Http(status) => (200..400).contains(status),
            Status::Grpc { code, .. } => *code == Code::Ok,
        }
    }
}

#[derive(Debug)]
pub struct InvokeResponse {
    pub status: Status,
    /// Without content type and without hop-by-hop headers.
    pub headers: HeaderMap,
    /// Only gRPC applications send them.
    pub trailers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    pub type_url: String,
    pub body: Body,
}

impl InvokeResponse {
    /// What came over HTTP. Its length says nothing of what is passed on.
    pub fn from_http(mut parts: http::response::Parts, body: Body) -> Self {
        let content_type = parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        Self {
            status: Status::Http(parts.status.as_u16()),
            headers: parts.headers,
            trailers: HeaderMap::new(),
            content_type,
            type_url: String::new(),
            body,
        }
    }
}

/// Why the application was not reached or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("app is not in a healthy state")]
    Unhealthy,
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The request cannot be turned into one for the application.
    #[error("{0}")]
    Invalid(String),
}
