//! Errors that belong to no single building block.

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn bad_request(reason: impl Display) -> ApiError {
    ApiError::simple("ERR_BAD_REQUEST", 400, Code::InvalidArgument, format!("invalid request: {reason}"))
}

pub fn unimplemented() -> ApiError {
    ApiError::simple(
        "ERR_API_UNIMPLEMENTED",
        501,
        Code::Unimplemented,
        "this API is currently not implemented",
    )
}

/// Reading a request body failed, over-long bodies among the reasons.
pub fn body_read(reason: impl Display) -> ApiError {
    ApiError::simple(
        "ERR_BODY_READ",
        400,
        Code::InvalidArgument,
        format!("failed to read request body: {reason}"),
    )
}

/// `reason` is a decoder's own message.
pub fn malformed_request(reason: impl Display) -> ApiError {
    ApiError::simple(
        "ERR_MALFORMED_REQUEST",
        400,
        Code::InvalidArgument,
        format!("failed deserializing HTTP body: {reason}"),
    )
}

/// Like [`malformed_request`], with a message of its own.
pub fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::simple("ERR_MALFORMED_REQUEST", 400, Code::InvalidArgument, message)
}

pub fn health_not_ready(targets: &[String]) -> ApiError {
    let list = dapr_gocompat::quote::fmt_list(targets);
    ApiError::simple("ERR_HEALTH_NOT_READY", 500, Code::Internal, format!("dapr is not ready: {list}"))
}

pub fn outbound_not_ready() -> ApiError {
    ApiError::simple("ERR_OUTBOUND_HEALTH_NOT_READY", 500, Code::Internal, "dapr outbound is not ready")
}

pub fn health_app_id_mismatch() -> ApiError {
    ApiError::simple("ERR_HEALTH_APPID_NOT_MATCH", 500, Code::Internal, "dapr app-id does not match")
}

/// A failure without an entry of its own.
pub fn internal(message: impl Into<String>) -> ApiError {
    ApiError::simple("ERR_INTERNAL", 500, Code::Internal, message)
}

/// A building block that this release does not serve; says so in words
/// (docs/gaps.md lists them).
pub fn not_available(what: &str) -> ApiError {
    ApiError::simple(
        "ERR_API_UNIMPLEMENTED",
        501,
        Code::Unimplemented,
        format!("{what} is not available in this release"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time in which a sidecar answers so is too short to be met from outside.
    #[test]
    fn outbound_health() {
        let error = outbound_not_ready();
        assert_eq!((error.http, error.code), (500, Code::Internal));
        assert_eq!(
            error.to_json(),
            r#"{"errorCode":"ERR_OUTBOUND_HEALTH_NOT_READY","message":"dapr outbound is not ready"}"#
        );
    }
}
