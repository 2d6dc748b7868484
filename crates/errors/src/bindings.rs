//! Output bindings.

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn invoke_failed(name: &str, reason: impl Display) -> ApiError {
    ApiError::basic(
        "ERR_INVOKE_OUTPUT_BINDING",
        500,
        Code::Internal,
        format!("error invoking output binding {name}: {reason}"),
    )
}
