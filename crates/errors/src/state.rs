//! State stores.

use std::fmt::Display;

use crate::{ApiError, Code, Detail};

const SUPPORTED_STORES_URL: &str =
    "https://docs.dapr.io/reference/components-reference/supported-state-stores/";

fn resource(store: &str) -> Detail {
    Detail::ResourceInfo {
        resource_type: "state".to_owned(),
        resource_name: store.to_owned(),
        owner: String::new(),
        description: String::new(),
    }
}

/// `app_id` is shown over HTTP only.
pub fn not_found(store: &str, app_id: Option<&str>) -> ApiError {
    ApiError::rich(
        "ERR_STATE_STORE_NOT_FOUND",
        400,
        Code::InvalidArgument,
        format!("state store {store} is not found"),
        vec![with_app("DAPR_STATE_NOT_FOUND", app_id)],
    )
}

pub fn not_configured(store: &str, app_id: Option<&str>) -> ApiError {
    ApiError::rich(
        "ERR_STATE_STORE_NOT_CONFIGURED",
        500,
        Code::FailedPrecondition,
        format!("state store {store} is not configured"),
        vec![with_app("DAPR_STATE_NOT_CONFIGURED", app_id)],
    )
}

fn with_app(reason: &str, app_id: Option<&str>) -> Detail {
    match app_id {
        Some(id) => Detail::error_info_with(reason, [("appID", id)]),
        None => Detail::error_info(reason),
    }
}

/// The message that goes with a key holding the separator.
pub fn illegal_key_reason(key: &str) -> String {
    format!("input key/keyPrefix '{key}' can't contain '||'")
}

/// `nested` is how HTTP shows the reason: as a quoted API error.
pub fn illegal_key(key: &str, store: &str, nested: bool) -> ApiError {
    let reason = illegal_key_reason(key);
    let message = if nested { format!("api error: code = InvalidArgument desc = {reason}") } else { reason };
    ApiError::rich(
        "ERR_MALFORMED_REQUEST",
        400,
        Code::InvalidArgument,
        message.clone(),
        vec![
            Detail::BadRequest { violations: vec![(key.to_owned(), message)] },
            resource(store),
            Detail::error_info("DAPR_STATE_ILLEGAL_KEY"),
        ],
    )
}

pub fn transactions_not_supported(store: &str) -> ApiError {
    ApiError::rich(
        "ERR_STATE_STORE_NOT_SUPPORTED",
        500,
        Code::Unimplemented,
        format!("state store {store} doesn't support transactions"),
        vec![
            Detail::Help {
                links: vec![(
                    "Check the list of state stores and the features they support".to_owned(),
                    SUPPORTED_STORES_URL.to_owned(),
                )],
            },
            resource(store),
            Detail::error_info("DAPR_STATE_TRANSACTIONS_NOT_SUPPORTED"),
        ],
    )
}

pub fn querying_not_supported(store: &str) -> ApiError {
    ApiError::rich(
        "ERR_STATE_STORE_NOT_SUPPORTED",
        500,
        Code::Internal,
        "state store does not support querying",
        vec![resource(store), Detail::error_info("DAPR_STATE_QUERYING_NOT_SUPPORTED")],
    )
}

pub fn query_failed(store: &str, reason: impl Display) -> ApiError {
    ApiError::rich(
        "ERR_STATE_QUERY",
        500,
        Code::Internal,
        format!("state store {store} query failed: {reason}"),
        vec![resource(store), Detail::error_info("DAPR_STATE_QUERY_FAILED")],
    )
}

pub fn too_many_transactions(store: &str, given: usize, limit: usize) -> ApiError {
    ApiError::rich(
        "ERR_STATE_STORE_TOO_MANY_TRANSACTIONS",
        400,
        Code::InvalidArgument,
        format!(
            "the transaction contains {given} operations, which is more than what the state store supports: {limit}"
        ),
        vec![
            resource(store),
            Detail::error_info_with(
                "DAPR_STATE_TOO_MANY_TRANSACTIONS",
                [("currentOpsTransaction", given.to_string()), ("maxOpsPerTransaction", limit.to_string())],
            ),
        ],
    )
}

/// The code that a failed read, write or delete of an item carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    EtagMismatch,
    EtagInvalid,
    Other,
}

impl Failure {
    fn codes(self) -> (u16, Code) {
        match self {
            Failure::EtagMismatch => (409, Code::Aborted),
            Failure::EtagInvalid => (400, Code::InvalidArgument),
            Failure::Other => (500, Code::Internal),
        }
    }
}

pub fn get_failed(key: &str, store: &str, reason: impl Display) -> ApiError {
    ApiError::basic(
        "ERR_STATE_GET",
        500,
        Code::Internal,
        format!("fail to get {key} from state store {store}: {reason}"),
    )
}

pub fn save_failed(store: &str, failure: Failure, reason: impl Display) -> ApiError {
    let (http, code) = failure.codes();
    ApiError::basic(
        "ERR_STATE_SAVE",
        http,
        code,
        format!("failed saving state in state store {store}: {reason}"),
    )
}

/// An item to be saved has no key, over gRPC.
pub fn empty_key() -> ApiError {
    ApiError::basic("ERR_STATE_SAVE", 400, Code::InvalidArgument, "state key cannot be empty")
}

pub fn delete_failed(key: &str, failure: Failure, reason: impl Display) -> ApiError {
    let (http, code) = failure.codes();
    ApiError::basic("ERR_STATE_DELETE", http, code, format!("failed deleting state with key {key}: {reason}"))
}

pub fn bulk_delete_failed(store: &str, failure: Failure, reason: impl Display) -> ApiError {
    let (http, code) = failure.codes();
    ApiError::basic(
        "ERR_STATE_BULK_DELETE",
        http,
        code,
        format!("failed deleting state in state store {store}: {reason}"),
    )
}

pub fn bulk_get_failed(reason: impl Display) -> ApiError {
    ApiError::basic("ERR_STATE_BULK_GET", 500, Code::Internal, reason.to_string())
}

pub fn transaction_failed(reason: impl Display) -> ApiError {
    ApiError::basic(
        "ERR_STATE_TRANSACTION",
        500,
        Code::Internal,
        format!("error while executing state transaction: {reason}"),
    )
}

/// An error that a component made up itself, with its own tag and status.
pub fn component_error(
    tag: &str,
    http: u16,
    code: Code,
    message: &str,
    domain: &str,
    reason: &str,
) -> ApiError {
    let detail = Detail::ForeignErrorInfo { reason: reason.to_owned(), domain: domain.to_owned() };
    ApiError { tag: tag.to_owned().into(), ..ApiError::rich("", http, code, message, vec![detail]) }
}

pub fn unknown_operation(operation: &str) -> ApiError {
    ApiError::basic(
        "ERR_NOT_SUPPORTED_STATE_OPERATION",
        400,
        Code::Unimplemented,
        format!("operation type {operation} not supported"),
    )
}
