//! The area that an error code belongs to, as the error code metric names it
//! (runtime.md §9.2).

/// Codes whose area their beginning does not tell.
const EXACT: [(&str, &str); 15] = [
    ("ERR_NOT_SUPPORTED_STATE_OPERATION", "state"),
    ("ERR_PERMISSION_DENIED", "secret"),
    ("ERR_TOPIC_NAME_EMPTY", "pubsub"),
    ("ERR_PUBLISH_OUTBOX", "pubsub"),
    ("ERR_DIRECT_INVOKE", "service-invocation"),
    ("ERR_INVOKE_OUTPUT_BINDING", "binding"),
    ("ERR_TRY_LOCK", "lock"),
    ("ERR_UNLOCK", "lock"),
    ("ERR_OUTBOUND_HEALTH_NOT_READY", "health"),
    ("ERR_GET_WORKFLOW", "workflow"),
    ("ERR_START_WORKFLOW", "workflow"),
    ("ERR_PAUSE_WORKFLOW", "workflow"),
    ("ERR_RESUME_WORKFLOW", "workflow"),
    ("ERR_TERMINATE_WORKFLOW", "workflow"),
    ("ERR_PURGE_WORKFLOW", "workflow"),
];

/// Beginnings of codes, after the exact ones.
const PREFIXES: [(&str, &str); 14] = [
    ("ERR_ACTOR", "actor"),
    ("ERR_WORKFLOW", "workflow"),
    ("ERR_INSTANCE_ID", "workflow"),
    ("ERR_RAISE_EVENT_WORKFLOW", "workflow"),
    ("ERR_STATE", "state"),
    ("ERR_CONFIGURATION", "configuration"),
    ("ERR_CRYPTO", "crypto"),
    ("ERR_SECRET", "secret"),
    ("ERR_PUBSUB", "pubsub"),
    ("ERR_CONVERSATION", "conversation"),
    ("ERR_LOCK", "lock"),
    ("ERR_HEALTH", "health"),
    ("DAPR_SCHEDULER", "job"),
    ("ERR", "common"),
];

/// `None` for codes that are not counted.
pub fn of(code: &str) -> Option<&'static str> {
    let exact = EXACT.iter().find(|(known, _)| *known == code);
    exact.or_else(|| PREFIXES.iter().find(|(prefix, _)| code.starts_with(prefix))).map(|(_, area)| *area)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn every_area_is_found() {
        for (code, area) in [
            ("ERR_STATE_SAVE", "state"),
            ("ERR_SECRET_GET", "secret"),
            ("ERR_PUBSUB_NOT_FOUND", "pubsub"),
            ("ERR_DIRECT_INVOKE", "service-invocation"),
            ("ERR_MALFORMED_REQUEST", "common"),
            ("ERR_API_UNIMPLEMENTED", "common"),
            ("ERR_ACTOR_NO_PLACEMENT", "actor"),
            ("DAPR_SCHEDULER_GET_JOB", "job"),
        ] {
            assert_eq!(of(code), Some(area), "{code}");
        }
        assert_eq!(of(""), None);
    }
}
