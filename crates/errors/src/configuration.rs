//! Configuration (api.md §2.5, §3.2).

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn not_configured() -> ApiError {
    ApiError::basic(
        "ERR_CONFIGURATION_STORE_NOT_CONFIGURED",
        500,
        Code::FailedPrecondition,
        "configuration stores not configured",
    )
}

pub fn store_not_found(store: &str) -> ApiError {
    ApiError::basic(
        "ERR_CONFIGURATION_STORE_NOT_FOUND",
        400,
        Code::InvalidArgument,
        format!("configuration store {store} not found"),
    )
}

/// Keys are printed like `[a b]`.
pub fn get_failed(keys: &[String], store: &str, reason: impl Display) -> ApiError {
    let keys = dapr_gocompat::quote::fmt_list(keys);
    ApiError::basic(
        "ERR_CONFIGURATION_GET",
        500,
        Code::Internal,
        format!("failed to get {keys} from Configuration store {store}: {reason}"),
    )
}

pub fn subscribe_failed(keys: &[String], store: &str, reason: impl Display) -> ApiError {
    let keys = dapr_gocompat::quote::fmt_list(keys);
    ApiError::basic(
        "ERR_CONFIGURATION_SUBSCRIBE",
        500,
        Code::InvalidArgument,
        format!("failed to subscribe {keys} from Configuration store {store}: {reason}"),
    )
}

pub fn unsubscribe_failed(id: &str, reason: impl Display) -> ApiError {
    ApiError::basic(
        "ERR_CONFIGURATION_UNSUBSCRIBE",
        500,
        Code::Internal,
        format!("failed to unsubscribe to configuration request {id}: {reason}"),
    )
}

/// Updates over HTTP are posted to the application: there must be one.
pub fn no_app_channel() -> ApiError {
    ApiError::simple(
        "ERR_APP_CHANNEL_NIL",
        500,
        Code::Internal,
        "app channel is not initialized. cannot subscribe to configuration updates",
    )
}
