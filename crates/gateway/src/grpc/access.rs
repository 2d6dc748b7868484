//! Tokens and allow lists of the gRPC API (api.md §9, §10).

use std::collections::HashMap;

use crate::ApiAccess;
use dapr_errors::{Code, Detail};
use dapr_transport::Body;
use http::{HeaderMap, Response};

use super::status;

pub const SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/";
/// What the lists are about.
const LISTED: &str = "/dapr.proto.runtime.";

/// Method, allow-list group, allow-list version.
const METHODS: &[(&str, &str, &str)] = &[
    ("InvokeService", "invoke", "v1"),
    ("GetState", "state", "v1"),
    ("GetBulkState", "state", "v1"),
    ("SaveState", "state", "v1"),
    ("DeleteState", "state", "v1"),
    ("DeleteBulkState", "state", "v1"),
    ("ExecuteStateTransaction", "state", "v1"),
    ("QueryStateAlpha1", "state", "v1alpha1"),
    ("PublishEvent", "publish", "v1"),
    ("BulkPublishEvent", "publish", "v1"),
    ("BulkPublishEventAlpha1", "publish", "v1alpha1"),
    ("SubscribeTopicEventsAlpha1", "subscribe", "v1alpha1"),
    ("InvokeBinding", "bindings", "v1"),
    ("GetSecret", "secrets", "v1"),
    ("GetBulkSecret", "secrets", "v1"),
    ("RegisterActorTimer", "actors", "v1"),
    ("UnregisterActorTimer", "actors", "v1"),
    ("RegisterActorReminder", "actors", "v1"),
    ("UnregisterActorReminder", "actors", "v1"),
    ("UnregisterActorRemindersByType", "actors", "v1"),
    ("ListActorReminders", "actors", "v1"),
    ("GetActorReminder", "actors", "v1"),
    ("GetActorState", "actors", "v1"),
    ("ExecuteActorStateTransaction", "actors", "v1"),
    ("InvokeActor", "actors", "v1"),
    ("SubscribeActorEventsAlpha1", "actors", "v1alpha1"),
    ("GetConfigurationAlpha1", "configuration", "v1alpha1"),
    ("GetConfiguration", "configuration", "v1"),
    ("SubscribeConfigurationAlpha1", "configuration", "v1alpha1"),
    ("SubscribeConfiguration", "configuration", "v1"),
    ("UnsubscribeConfigurationAlpha1", "configuration", "v1alpha1"),
    ("UnsubscribeConfiguration", "configuration", "v1"),
    ("TryLockAlpha1", "lock", "v1alpha1"),
    ("UnlockAlpha1", "unlock", "v1alpha1"),
    ("EncryptAlpha1", "crypto", "v1alpha1"),
    ("DecryptAlpha1", "crypto", "v1alpha1"),
    ("GetMetadata", "metadata", "v1"),
    ("SetMetadata", "metadata", "v1"),
    ("SubtleGetKeyAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleEncryptAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleDecryptAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleWrapKeyAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleUnwrapKeyAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleSignAlpha1", "subtlecrypto", "v1alpha1"),
    ("SubtleVerifyAlpha1", "subtlecrypto", "v1alpha1"),
    ("StartWorkflowAlpha1", "workflows", "v1alpha1"),
    ("GetWorkflowAlpha1", "workflows", "v1alpha1"),
    ("PurgeWorkflowAlpha1", "workflows", "v1alpha1"),
    ("TerminateWorkflowAlpha1", "workflows", "v1alpha1"),
    ("PauseWorkflowAlpha1", "workflows", "v1alpha1"),
    ("ResumeWorkflowAlpha1", "workflows", "v1alpha1"),
    ("RaiseEventWorkflowAlpha1", "workflows", "v1alpha1"),
    ("StartWorkflowBeta1", "workflows", "v1beta1"),
    ("GetWorkflowBeta1", "workflows", "v1beta1"),
    ("PurgeWorkflowBeta1", "workflows", "v1beta1"),
    ("TerminateWorkflowBeta1", "workflows", "v1beta1"),
    ("PauseWorkflowBeta1", "workflows", "v1beta1"),
    ("ResumeWorkflowBeta1", "workflows", "v1beta1"),
    ("RaiseEventWorkflowBeta1", "workflows", "v1beta1"),
    ("Shutdown", "shutdown", "v1"),
    ("ScheduleJobAlpha1", "jobs", "v1alpha1"),
    ("ScheduleJob", "jobs", "v1"),
    ("GetJobAlpha1", "jobs", "v1alpha1"),
    ("GetJob", "jobs", "v1"),
    ("DeleteJobAlpha1", "jobs", "v1alpha1"),
    ("DeleteJob", "jobs", "v1"),
    ("DeleteJobsByPrefixAlpha1", "jobs", "v1alpha1"),
    ("DeleteJobsByPrefix", "jobs", "v1"),
    ("ListJobsAlpha1", "jobs", "v1alpha1"),
    ("ListJobs", "jobs", "v1"),
    ("ConverseAlpha1", "conversation", "v1alpha1"),
    ("ConverseAlpha2", "conversation", "v1alpha2"),
];

/// Whether the gRPC API has this group in this version.
pub fn is_group(group: &str, version: &str) -> bool {
    METHODS.iter().any(|(_, g, v)| *g == group && *v == version)
}

/// Methods whose failures carry metadata of the target for the caller.
pub fn answers_with_headers(path: &str) -> bool {
    matches!(path.strip_prefix(SERVICE), Some("InvokeBinding" | "InvokeService"))
}

/// Which methods of our own service are served and which are allowed.
pub struct Access {
    token: Option<String>,
    methods: HashMap<&'static str, bool>,
    /// What becomes of methods that the service does not have.
    unknown: bool,
}

impl Access {
    pub fn new(token: Option<String>, rules: &ApiAccess) -> Self {
        let methods =
            METHODS.iter().map(|(name, group, version)| (*name, rules.allows_grpc(group, version))).collect();
        Self { token, methods, unknown: rules.allows_unlisted_grpc() }
    }

    /// `None`: not a method of ours. Otherwise whether it is allowed.
    pub fn method(&self, path: &str) -> Option<bool> {
        let known = path.strip_prefix(SERVICE).and_then(|method| self.methods.get(method).copied());
        known.or_else(|| (!self.unknown && path.starts_with(LISTED)).then_some(false))
    }

    /// Checks the token and takes it away.
    pub fn authorize(&self, headers: &mut HeaderMap) -> Result<(), Response<Body>> {
        let Some(token) = &self.token else { return Ok(()) };
        let reason = match headers.remove("dapr-api-token") {
            None => "missing api token in request metadata",
            Some(given) if dapr_security::api_token::matches(token, given.as_bytes()) => return Ok(()),
            Some(_) => "authentication error: api token mismatch",
        };
        Err(refuse(Code::Unauthenticated, "Unauthorized", 401, reason))
    }
}

/// The answer to a method that the allow lists exclude.
pub fn denied() -> Response<Body> {
    refuse(Code::Unimplemented, "Not Implemented", 501, "requested endpoint is not available")
}

/// The form that statuses made from HTTP codes have (api.md §3.4).
fn refuse(code: Code, text: &'static str, http: u16, reason: &str) -> Response<Body> {
    let http = http.to_string();
    let info = Detail::error_info_with(text, [("http.code", http.as_str()), ("http.error_message", reason)]);
    let error = dapr_errors::ApiError::rich("", 0, code, text, vec![info]);
    status::response(code, text, &error.to_grpc_details())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_72_methods_have_a_group() {
        assert_eq!(METHODS.len(), 72);
        let names: std::collections::HashSet<_> = METHODS.iter().map(|m| m.0).collect();
        assert_eq!(names.len(), 72);
    }
}
