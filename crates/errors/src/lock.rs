//! Distributed lock (api.md §2.6, §3.2).

use std::fmt::Display;

use crate::{ApiError, Code, general};

pub fn not_configured() -> ApiError {
    ApiError::simple(
        "ERR_LOCK_STORE_NOT_CONFIGURED",
        500,
        Code::FailedPrecondition,
        "lock store is not configured",
    )
}

pub fn store_not_found(store: &str) -> ApiError {
    ApiError::simple(
        "ERR_LOCK_STORE_NOT_FOUND",
        400,
        Code::InvalidArgument,
        format!("lock store {store} not found"),
    )
}

pub fn empty_resource(store: &str) -> ApiError {
    general::malformed(format!("ResourceId is empty in lock store {store}"))
}

pub fn empty_owner(store: &str) -> ApiError {
    general::malformed(format!("LockOwner is empty in lock store {store}"))
}

pub fn expiry_not_positive(store: &str) -> ApiError {
    general::malformed(format!("ExpiryInSeconds is not positive in lock store {store}"))
}

pub fn try_lock_failed(reason: impl Display) -> ApiError {
    ApiError::simple("ERR_TRY_LOCK", 500, Code::Internal, format!("failed to try acquiring lock: {reason}"))
}

pub fn unlock_failed(reason: impl Display) -> ApiError {
    ApiError::simple("ERR_UNLOCK", 500, Code::Internal, format!("failed to release lock: {reason}"))
}
