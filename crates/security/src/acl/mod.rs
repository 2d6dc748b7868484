//! Who may invoke the application (control-plane.md §6.1): a specification is
//! compiled once, then answers one call after the other without allocating in
//! the usual case. No network and no metrics here; whoever asks counts.

mod operations;
mod spec;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::spiffe::{DEFAULT_TRUST_DOMAIN, SpiffeId};
use operations::Operations;
pub use spec::{AppPolicySpec, InvalidSpec, OperationSpec, Spec};

const SCOPE: &str = "dapr.acl";
/// The verb of a rule that fits every verb.
const ANY_VERB: &str = "*";
/// How a call without a verb is named.
const NO_VERB: &str = "NONE";

/// What an application speaks decides how operations are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Names without regard to case; the verb counts.
    Http,
    /// Names as they are; there are no verbs.
    Grpc,
}

/// What settled a call. Metrics tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The policy for the caller.
    App,
    /// The default action for all.
    Global,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub basis: Basis,
}

/// A compiled access control list.
#[derive(Debug)]
pub struct AccessControl {
    default_allows: bool,
    trust_domain: String,
    /// By app ID, then namespace.
    policies: HashMap<String, HashMap<String, AppPolicy>>,
}

#[derive(Debug)]
struct AppPolicy {
    trust_domain: String,
    /// `None` when the policy leaves it to the default for all.
    default_allows: Option<bool>,
    operations: Operations,
}

impl AccessControl {
    /// Compiles a specification for an application that speaks `app`. `None`
    /// when nothing at all is specified: everything is allowed then, and no
    /// call needs to ask.
    pub fn compile(spec: &Spec, app: Protocol) -> Result<Option<Self>, InvalidSpec> {
        if spec.is_empty() {
            return Ok(None);
        }
        spec.validate()?;
        let mut policies: HashMap<String, HashMap<String, AppPolicy>> = HashMap::new();
        for policy in spec.policies.iter().flatten() {
            let compiled = AppPolicy {
                trust_domain: policy.trust_domain.clone(),
                default_allows: (!policy.default_action.is_empty()).then(|| allows(&policy.default_action)),
                operations: Operations::compile(&policy.operations, app),
            };
            // The last policy of an application in a namespace counts.
            policies.entry(policy.app_id.clone()).or_default().insert(policy.namespace.clone(), compiled);
        }
        Ok(Some(Self {
            default_allows: default_allows(spec),
            trust_domain: Some(&spec.trust_domain)
                .filter(|d| !d.is_empty())
                .cloned()
                .unwrap_or_else(|| DEFAULT_TRUST_DOMAIN.to_owned()),
            policies,
        }))
    }

    /// Whether no call is ever refused.
    pub fn allows_everything(&self) -> bool {
        self.default_allows && self.policies.is_empty()
    }

    /// The trust domain that the application itself asks for.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Judges a call of `operation`, a normalised method or gRPC path.
    ///
    /// `caller` is `None` where no certificate was shown. `verb` is upper-case,
    /// `None` where the call has none. `protocol` is how the call reaches the
    /// application: proxied gRPC calls are [`Protocol::Grpc`] always.
    pub fn decide(
        &self,
        caller: Option<&SpiffeId>,
        operation: &str,
        verb: Option<&str>,
        protocol: Protocol,
    ) -> Decision {
        let global = Decision { allowed: self.default_allows, basis: Basis::Global };
        let Some(caller) = caller else { return global };
        let Some(policy) = self.policy(caller) else { return global };
        let default = match policy.default_allows {
            Some(allowed) => Decision { allowed, basis: Basis::App },
            None => global,
        };
        let operation = match protocol {
            Protocol::Http => lower(operation),
            Protocol::Grpc => Cow::Borrowed(operation),
        };
        let Some(found) = policy.operations.find(&operation) else { return default };
        let allowed = match (protocol, verb) {
            (Protocol::Grpc, _) => found.allows,
            (Protocol::Http, Some(verb)) => found.allows_verb(verb).unwrap_or(default.allowed),
            // An HTTP operation without a verb fits no rule about verbs.
            (Protocol::Http, None) => policy.default_allows.unwrap_or(false),
        };
        Decision { allowed, basis: default.basis }
    }

    /// Namespaces and trust domains are compared exactly: an identity of the
    /// same name elsewhere is somebody else.
    fn policy(&self, caller: &SpiffeId) -> Option<&AppPolicy> {
        let policy = self.policies.get(caller.app_id())?.get(caller.namespace())?;
        (policy.trust_domain == caller.trust_domain_str()).then_some(policy)
    }
}

/// What a caller is told who was refused.
pub fn denial(caller: Option<&SpiffeId>, operation: &str, verb: Option<&str>) -> String {
    let id = caller.map_or("", SpiffeId::as_str);
    let verb = verb.unwrap_or(NO_VERB);
    format!("access control policy has denied access to id: {id} operation: {operation} verb: {verb}")
}

fn default_allows(spec: &Spec) -> bool {
    if !spec.default_action.is_empty() {
        return allows(&spec.default_action);
    }
    // Emptied on purpose: a list that is there and empty is no list, anything
    // else was meant to restrict.
    let open = spec.policies.as_ref().is_some_and(Vec::is_empty);
    if !open {
        tracing::warn!(
            target: SCOPE,
            "No global default action has been specified. Setting default global action as Deny"
        );
    }
    open
}

fn allows(action: &str) -> bool {
    action.eq_ignore_ascii_case("allow")
}

/// Lower case of what mostly is lower case.
fn lower(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_uppercase) || !text.is_ascii() {
        Cow::Owned(text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}
