//! Service invocation.

use std::fmt::Display;

use crate::{ApiError, Code};

const TAG: &str = "ERR_DIRECT_INVOKE";

pub fn failed(id: &str, reason: impl Display) -> ApiError {
    ApiError::simple(TAG, 500, Code::Internal, format!("failed to invoke, id: {id}, err: {reason}"))
}

/// The callee's access list refused (api.md §7.5): 403, same body.
pub fn denied(id: &str, reason: impl Display) -> ApiError {
    ApiError::simple(TAG, 403, Code::PermissionDenied, format!("failed to invoke, id: {id}, err: {reason}"))
}

pub fn no_app_id() -> ApiError {
    ApiError::simple(
        TAG,
        404,
        Code::NotFound,
        "failed getting app id either from the URL path or the header dapr-app-id",
    )
}

pub fn not_ready() -> ApiError {
    ApiError::simple(TAG, 500, Code::Internal, "invoke API is not ready")
}
