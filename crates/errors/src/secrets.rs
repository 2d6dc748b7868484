//! Secrets.

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn not_configured() -> ApiError {
    ApiError::simple(
        "ERR_SECRET_STORES_NOT_CONFIGURED",
        500,
        Code::FailedPrecondition,
        "secret store is not configured",
    )
}

/// 401 is the contract's status (api.md §2.2).
pub fn store_not_found(store: &str) -> ApiError {
    ApiError::simple(
        "ERR_SECRET_STORE_NOT_FOUND",
        401,
        Code::InvalidArgument,
        format!("failed finding secret store with key {store}"),
    )
}

pub fn permission_denied(key: &str, store: &str) -> ApiError {
    let (key, store) = (dapr_gocompat::quote::quote(key), dapr_gocompat::quote::quote(store));
    ApiError::simple(
        "ERR_PERMISSION_DENIED",
        403,
        Code::PermissionDenied,
        format!("access denied by policy to get {key} from {store}"),
    )
}

pub fn get_failed(key: &str, store: &str, reason: impl Display) -> ApiError {
    ApiError::simple(
        "ERR_SECRET_GET",
        500,
        Code::Internal,
        format!("failed getting secret with key {key} from secret store {store}: {reason}"),
    )
}

pub fn bulk_get_failed(store: &str, reason: impl Display) -> ApiError {
    ApiError::simple(
        "ERR_SECRET_GET",
        500,
        Code::Internal,
        format!("failed getting secrets from secret store {store}: {reason}"),
    )
}
