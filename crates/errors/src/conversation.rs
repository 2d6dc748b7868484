//! Conversation.

use std::fmt::Display;

use crate::{ApiError, Code};

pub fn not_found(name: &str) -> ApiError {
    let text = format!("failed finding conversation component {name}");
    ApiError::simple("ERR_CONVERSATION_NOT_FOUND", 400, Code::InvalidArgument, text)
}

pub fn missing_inputs(name: &str) -> ApiError {
    let text = format!("failed conversing with component {name}: missing inputs in request");
    ApiError::simple("ERR_CONVERSATION_MISSING_INPUTS", 400, Code::InvalidArgument, text)
}

/// The reason is in the text, where Dapr has a remark of Go's formatter.
pub fn invalid_params(name: &str, reason: impl Display) -> ApiError {
    let text = format!("failed conversing with component {name}: invalid params: {reason}");
    ApiError::simple("ERR_CONVERSATION_INVALID_PARMS", 400, Code::InvalidArgument, text)
}

pub fn failed(name: &str, reason: impl Display) -> ApiError {
    let text = format!("failed conversing with component {name}: {reason}");
    ApiError::simple("ERR_CONVERSATION_INVOKE", 500, Code::Internal, text)
}
