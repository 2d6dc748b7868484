//! What a Configuration says about access, as it says it.

/// `spec.accessControl`, laid over Dapr's defaults (`allow`, `public`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// `allow` in any case; anything else that is not empty denies.
    pub default_action: String,
    pub trust_domain: String,
    /// `None` when the list is absent, which is not the same as empty.
    pub policies: Option<Vec<AppPolicySpec>>,
}

/// What one caller may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPolicySpec {
    pub app_id: String,
    /// Empty leaves it to the default for all.
    pub default_action: String,
    pub trust_domain: String,
    pub namespace: String,
    pub operations: Vec<OperationSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationSpec {
    /// A path, with or without a leading slash; segments may hold `*`, the last
    /// may be `*` or `**`.
    pub name: String,
    /// Upper-case, or `*` for any.
    pub verbs: Vec<String>,
    pub action: String,
}

/// A specification that cannot be meant. The text is the one that operators
/// know from Dapr.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid access control spec. missing trustdomain for apps: [{}], missing namespace for apps: [{}], missing app name on at least one of the app policies: {no_app_id}",
    .no_trust_domain.join(" "),
    .no_namespace.join(" ")
)]
pub struct InvalidSpec {
    /// App IDs of policies without a trust domain.
    pub no_trust_domain: Vec<String>,
    /// App IDs of policies without a namespace.
    pub no_namespace: Vec<String>,
    /// Whether some policy has no app ID.
    pub no_app_id: bool,
}

impl Spec {
    pub(super) fn is_empty(&self) -> bool {
        self.default_action.is_empty()
            && self.trust_domain.is_empty()
            && self.policies.as_ref().is_none_or(Vec::is_empty)
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        let policies = || self.policies.iter().flatten();
        let lacking = |field: fn(&AppPolicySpec) -> &str| {
            policies().filter(|p| field(p).is_empty()).map(|p| p.app_id.clone()).collect::<Vec<_>>()
        };
        let invalid = InvalidSpec {
            no_trust_domain: lacking(|p| &p.trust_domain),
            no_namespace: lacking(|p| &p.namespace),
            no_app_id: policies().any(|p| p.app_id.is_empty()),
        };
        if invalid.no_trust_domain.is_empty() && invalid.no_namespace.is_empty() && !invalid.no_app_id {
            return Ok(());
        }
        Err(invalid)
    }
}
