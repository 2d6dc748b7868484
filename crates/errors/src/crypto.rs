//! Cryptography.

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn not_configured() -> ApiError {
    ApiError::simple(
        "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED",
        500,
        Code::Internal,
        "crypto providers not configured",
    )
}

pub fn provider_not_found(provider: &str) -> ApiError {
    ApiError::simple(
        "ERR_CRYPTO_PROVIDER_NOT_FOUND",
        400,
        Code::InvalidArgument,
        format!("crypto provider {provider} not found"),
    )
}

pub fn operation_failed(reason: impl Display) -> ApiError {
    ApiError::simple("ERR_CRYPTO", 500, Code::Internal, format!("failed to perform operation: {reason}"))
}

/// A document that turned out bad after its beginning was accepted: over HTTP
/// an error without a code of its own.
pub fn stream_failed(reason: impl Display) -> ApiError {
    ApiError::simple("ERROR", 500, Code::Internal, reason.to_string())
}
