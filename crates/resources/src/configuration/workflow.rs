use std::time::Duration;

use serde::Deserialize;

use crate::decode::fields::optional_duration;

/// Limits as written; the getters turn what is not positive into "no limit".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkflowSpec {
    pub max_concurrent_workflow_invocations: i32,
    pub max_concurrent_activity_invocations: i32,
    pub global_max_concurrent_workflow_invocations: Option<i32>,
    pub global_max_concurrent_activity_invocations: Option<i32>,
    pub workflow_concurrency_limits: Vec<NamedConcurrencyLimit>,
    pub activity_concurrency_limits: Vec<NamedConcurrencyLimit>,
    pub state_retention_policy: Option<StateRetentionPolicy>,
}

fn positive(limit: i32) -> Option<u32> {
    u32::try_from(limit).ok().filter(|limit| *limit > 0)
}

impl WorkflowSpec {
    /// Workflows that one sidecar runs at a time.
    pub fn workflow_limit(&self) -> Option<u32> {
        positive(self.max_concurrent_workflow_invocations)
    }

    /// Activities that one sidecar runs at a time.
    pub fn activity_limit(&self) -> Option<u32> {
        positive(self.max_concurrent_activity_invocations)
    }

    /// Workflows that all sidecars of the app run at a time.
    pub fn global_workflow_limit(&self) -> Option<u32> {
        self.global_max_concurrent_workflow_invocations.and_then(positive)
    }

    /// Activities that all sidecars of the app run at a time.
    pub fn global_activity_limit(&self) -> Option<u32> {
        self.global_max_concurrent_activity_invocations.and_then(positive)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamedConcurrencyLimit {
    pub name: Option<String>,
    pub max_concurrent: Option<i32>,
}

/// How long the state of a finished workflow is kept; a specific entry beats
/// `any_terminal`, absent means for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateRetentionPolicy {
    #[serde(deserialize_with = "optional_duration")]
    pub any_terminal: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    pub completed: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    pub failed: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    pub terminated: Option<Duration>,
}
