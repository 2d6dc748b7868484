//! Publish and subscribe. Resource descriptions repeat the message.

use std::fmt::Display;

use crate::{ApiError, Code, Detail};

type Metadata<'a> = &'a [(&'a str, &'a str)];

fn with_resource(
    tag: &'static str,
    reason: &str,
    http: u16,
    code: Code,
    pubsub: &str,
    metadata: Metadata<'_>,
    message: String,
) -> ApiError {
    let resource = Detail::ResourceInfo {
        resource_type: "pubsub".to_owned(),
        resource_name: pubsub.to_owned(),
        owner: String::new(),
        description: message.clone(),
    };
    let info = if metadata.is_empty() {
        Detail::error_info(reason)
    } else {
        Detail::error_info_with(reason, metadata.iter().copied())
    };
    ApiError::rich(tag, http, code, message, vec![resource, info])
}

pub fn not_found(pubsub: &str) -> ApiError {
    ApiError::rich(
        "ERR_PUBSUB_NOT_FOUND",
        404,
        Code::InvalidArgument,
        format!("pubsub {pubsub} is not found"),
        vec![Detail::error_info_with::<String, String>("DAPR_PUBSUB_NOT_FOUND", [])],
    )
}

/// Whether there is no such component, for either reason.
pub fn is_not_found(error: &ApiError) -> bool {
    error.tag == "ERR_PUBSUB_NOT_FOUND"
}

/// The component went away between the look-up and the publish, such as while
/// the body was being read.
pub fn vanished(pubsub: &str, topic: &str) -> ApiError {
    let message = format!("pubsub '{pubsub}' not found");
    with_resource(
        "ERR_PUBSUB_NOT_FOUND",
        "DAPR_PUBSUB_TEST_NOT_FOUND",
        400,
        Code::NotFound,
        pubsub,
        &[("topic", topic), ("error", &message)],
        message.clone(),
    )
}

pub fn name_empty() -> ApiError {
    with_resource(
        "ERR_PUBSUB_EMPTY",
        "DAPR_PUBSUB_NAME_EMPTY",
        404,
        Code::InvalidArgument,
        "",
        &[],
        "pubsub name is empty".to_owned(),
    )
}

pub fn topic_empty(pubsub: &str) -> ApiError {
    with_resource(
        "ERR_TOPIC_NAME_EMPTY",
        "DAPR_PUBSUB_TOPIC_NAME_EMPTY",
        404,
        Code::InvalidArgument,
        pubsub,
        &[],
        format!("topic is empty in pubsub {pubsub}"),
    )
}

pub fn forbidden(pubsub: &str, topic: &str, app_id: &str) -> ApiError {
    let message = format!("topic {topic} is not allowed for app id {app_id}");
    with_resource(
        "ERR_PUBSUB_FORBIDDEN",
        "DAPR_PUBSUB_FORBIDDEN",
        403,
        Code::PermissionDenied,
        pubsub,
        &[("topic", topic), ("error", &message)],
        message.clone(),
    )
}

pub fn publish_failed(pubsub: &str, topic: &str, reason: impl Display) -> ApiError {
    let reason = reason.to_string();
    with_resource(
        "ERR_PUBSUB_PUBLISH_MESSAGE",
        "DAPR_PUBSUB_PUBLISH_MESSAGE",
        500,
        Code::Internal,
        pubsub,
        &[("topic", topic), ("error", &reason)],
        format!("error when publishing to topic {topic} in pubsub {pubsub}: {reason}"),
    )
}

/// `rawPayload` is not a boolean.
pub fn bad_metadata(pubsub: &str, value: &str) -> ApiError {
    with_resource(
        "ERR_PUBSUB_REQUEST_METADATA",
        "DAPR_PUBSUB_METADATA_DESERIALIZATION",
        400,
        Code::InvalidArgument,
        pubsub,
        &[("rawPayload", value)],
        format!(
            "failed deserializing metadata. Error: rawPayload value must be a valid boolean: actual is '{value}'"
        ),
    )
}

pub fn cloud_event_creation(pubsub: &str, app_id: &str, reason: impl Display) -> ApiError {
    with_resource(
        "ERR_PUBSUB_CLOUD_EVENTS_SER",
        "DAPR_PUBSUB_CLOUD_EVENT_CREATION",
        500,
        Code::InvalidArgument,
        pubsub,
        &[("appID", app_id), ("error", &reason.to_string())],
        "cannot create cloudevent".to_owned(),
    )
}

/// Which step of reading bulk entries failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serialization {
    MarshalEnvelope,
    MarshalEvents,
    UnmarshalEvents,
}

pub fn events(
    kind: Serialization,
    pubsub: &str,
    topic: &str,
    app_id: &str,
    reason: impl Display,
) -> ApiError {
    let reason = reason.to_string();
    let (name, message) = match kind {
        Serialization::MarshalEnvelope => (
            "DAPR_PUBSUB_MARSHAL_ENVELOPE",
            format!(
                "error when marshalling cloud event envelope for topic {topic} pubsub {pubsub}: {reason}"
            ),
        ),
        Serialization::MarshalEvents => (
            "DAPR_PUBSUB_MARSHAL_EVENTS",
            format!("error marshaling events to bytes for topic {topic} pubsub {pubsub}. error: {reason}"),
        ),
        Serialization::UnmarshalEvents => (
            "DAPR_PUBSUB_UNMARSHAL_EVENTS",
            format!("error when unmarshaling the request for topic {topic} pubsub {pubsub}: {reason}"),
        ),
    };
    let both = [("appID", app_id), ("error", reason.as_str())];
    let shown = if kind == Serialization::UnmarshalEvents { &both[..1] } else { &both[..] };
    with_resource("ERR_PUBSUB_EVENTS_SER", name, 400, Code::InvalidArgument, pubsub, shown, message)
}

pub fn outbox(app_id: &str, reason: impl Display) -> ApiError {
    let reason = reason.to_string();
    ApiError::rich(
        "ERR_PUBLISH_OUTBOX",
        500,
        Code::Internal,
        format!("error while publishing outbox message: {reason}"),
        vec![Detail::error_info_with("DAPR_PUBSUB_OUTBOX", [("appID", app_id), ("error", reason.as_str())])],
    )
}
