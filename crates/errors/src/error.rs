use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use dapr_wire::google::rpc;
use prost::Message;

use crate::{Code, Detail};

/// An error that a caller of the sidecar sees.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// `errorCode` over HTTP.
    pub tag: Cow<'static, str>,
    pub http: u16,
    pub code: Code,
    pub message: String,
    /// Details over gRPC, and over HTTP unless `simple_http`.
    pub details: Vec<Detail>,
    /// Whether HTTP shows only code and message though gRPC has details.
    pub simple_http: bool,
    /// The error of a component that this one tells about: gRPC answers with
    /// it instead.
    pub own: Option<Box<ApiError>>,
}

impl ApiError {
    /// Code and message only, in both protocols.
    pub fn simple(tag: &'static str, http: u16, code: Code, message: impl Into<String>) -> Self {
        Self {
            tag: Cow::Borrowed(tag),
            http,
            code,
            message: message.into(),
            details: Vec::new(),
            simple_http: true,
            own: None,
        }
    }

    /// With details in both protocols.
    pub fn rich(
        tag: &'static str,
        http: u16,
        code: Code,
        message: impl Into<String>,
        details: Vec<Detail>,
    ) -> Self {
        Self {
            tag: Cow::Borrowed(tag),
            http,
            code,
            message: message.into(),
            details,
            simple_http: false,
            own: None,
        }
    }

    /// Simple over HTTP; over gRPC one ErrorInfo whose reason is the tag
    /// (api.md §3.2, state, configuration and bindings).
    pub fn basic(tag: &'static str, http: u16, code: Code, message: impl Into<String>) -> Self {
        Self { details: vec![Detail::error_info(tag)], ..Self::simple(tag, http, code, message) }
    }

    /// What the error code metric counts: the tag.
    pub fn metric_code(&self) -> &str {
        &self.tag
    }

    /// The area that the error code metric counts this under; `None` for codes
    /// that it does not know.
    pub fn category(&self) -> Option<&'static str> {
        // One code stands for two: with details it is a key's.
        if self.tag == "ERR_MALFORMED_REQUEST" && !self.details.is_empty() {
            return Some("state");
        }
        crate::category::of(&self.tag)
    }

    /// Body of the HTTP answer: keys in the order errorCode, message, details.
    pub fn to_json(&self) -> Bytes {
        let mut out = String::with_capacity(64 + self.message.len());
        out.push_str("{\"errorCode\":");
        out.push_str(&dapr_gocompat::json::escape_str(&self.tag));
        out.push_str(",\"message\":");
        out.push_str(&dapr_gocompat::json::escape_str(&self.message));
        if !self.simple_http && !self.details.is_empty() {
            out.push_str(",\"details\":[");
            for (i, detail) in self.details.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&detail.to_json_text());
            }
            out.push(']');
        }
        out.push('}');
        Bytes::from(out)
    }

    /// The encoded `google.rpc.Status` for the `grpc-status-details-bin`
    /// trailer; empty without details.
    pub fn to_grpc_details(&self) -> Bytes {
        if self.details.is_empty() {
            return Bytes::new();
        }
        let status = rpc::Status {
            code: self.code as i32,
            message: self.message.clone(),
            details: self.details.iter().map(Detail::to_any).collect(),
        };
        Bytes::from(status.encode_to_vec())
    }

    /// How the error reads when another error quotes it as an API error.
    pub fn nested(&self) -> String {
        format!("api error: code = {} desc = {}", self.code.name(), self.message)
    }
}

/// Reads as the nested form, which is how errors end up inside others.
impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// How a gRPC status reads when another error quotes it.
pub fn grpc_nested(code: Code, message: &str) -> String {
    format!("rpc error: code = {} desc = {message}", code.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_metadata_may_be_null() {
        let error = ApiError::rich("T", 400, Code::InvalidArgument, "a <b>", vec![Detail::error_info("R")]);
        assert_eq!(
            error.to_json(),
            r#"{"errorCode":"T","message":"a \u003cb\u003e","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"dapr.io","metadata":null,"reason":"R"}]}"#
        );
    }

    #[test]
    fn a_basic_error_has_details_over_grpc_only() {
        let error = ApiError::basic("ERR_STATE_GET", 500, Code::Internal, "m");
        assert_eq!(error.to_json(), r#"{"errorCode":"ERR_STATE_GET","message":"m"}"#);
        let status = rpc::Status::decode(error.to_grpc_details()).unwrap();
        assert_eq!((status.code, status.details.len()), (13, 1));
        let info = rpc::ErrorInfo::decode(&*status.details[0].value).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("ERR_STATE_GET", "dapr.io"));
    }
}
