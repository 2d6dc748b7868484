use std::collections::BTreeSet;

use serde::Deserialize;

use super::ConfigurationError;
use crate::component::Component;
use crate::resource::Resource;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretsSpec {
    /// At most one per store.
    pub scopes: Vec<SecretScope>,
}

impl SecretsSpec {
    pub(super) fn validate(&self) -> Result<(), ConfigurationError> {
        let mut seen = BTreeSet::new();
        for scope in &self.scopes {
            if !seen.insert(scope.store_name.as_str()) {
                return Err(ConfigurationError::RepeatedSecretStore(scope.store_name.clone()));
            }
            let access = scope.default_access.as_str();
            if !access.is_empty() && !is(access, "allow") && !is(access, "deny") {
                return Err(ConfigurationError::BadDefaultAccess(access.to_owned()));
            }
        }
        Ok(())
    }
}

fn is(word: &str, expected: &str) -> bool {
    word.eq_ignore_ascii_case(expected)
}

/// Which secrets of a store the application may read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecretScope {
    pub store_name: String,
    /// `allow` or `deny` in any case; empty is allow.
    pub default_access: String,
    pub allowed_secrets: Vec<String>,
    pub denied_secrets: Vec<String>,
}

impl SecretScope {
    /// A list of allowed secrets settles the matter alone; else a denied secret
    /// is refused; else the default counts.
    pub fn is_allowed(&self, key: &str) -> bool {
        if !self.allowed_secrets.is_empty() {
            return self.allowed_secrets.iter().any(|allowed| allowed == key);
        }
        !is(&self.default_access, "deny") && !self.denied_secrets.iter().any(|denied| denied == key)
    }
}

/// Who may invoke the application; matching is the security crate's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AccessControlSpec {
    pub default_action: String,
    pub trust_domain: String,
    /// `None` when the list is absent, which is not the same as empty.
    pub policies: Option<Vec<AppPolicySpec>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AppPolicySpec {
    pub app_id: String,
    pub default_action: String,
    pub trust_domain: String,
    pub namespace: String,
    pub operations: Vec<AppOperation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AppOperation {
    pub name: String,
    pub http_verb: Vec<String>,
    pub action: String,
}

/// Which API groups are served; matching is the gateway's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ApiSpec {
    /// Empty allows everything.
    pub allowed: Vec<ApiAccessRule>,
    pub denied: Vec<ApiAccessRule>,
}

impl ApiSpec {
    /// `version/name` of each allowed group of `protocol`.
    pub fn allowed_for(&self, protocol: ApiProtocol) -> BTreeSet<String> {
        rules_for(&self.allowed, protocol)
    }

    /// `version/name` of each denied group of `protocol`.
    pub fn denied_for(&self, protocol: ApiProtocol) -> BTreeSet<String> {
        rules_for(&self.denied, protocol)
    }
}

fn rules_for(rules: &[ApiAccessRule], protocol: ApiProtocol) -> BTreeSet<String> {
    let of_protocol = rules.iter().filter(|rule| match protocol {
        ApiProtocol::Http => is(&rule.protocol, protocol.name()),
        ApiProtocol::Grpc => rule.protocol == protocol.name(),
    });
    of_protocol.map(|rule| format!("{}/{}", rule.version, rule.name)).collect()
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ApiAccessRule {
    pub name: String,
    pub version: String,
    /// `http` in any case, or `grpc`; a rule for anything else has no effect.
    pub protocol: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiProtocol {
    Http,
    Grpc,
}

impl ApiProtocol {
    pub fn name(self) -> &'static str {
        match self {
            ApiProtocol::Http => "http",
            ApiProtocol::Grpc => "grpc",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ComponentsSpec {
    /// `type` or `type/version`, compared exactly.
    pub deny: Vec<String>,
}

impl ComponentsSpec {
    /// Why a component may not be loaded, worded for the log.
    ///
    /// Once anything is denied, so are components without a type or version;
    /// for those the reason is empty text in the reference and a sentence here.
    pub fn denial(&self, component: &Component) -> Option<String> {
        if self.deny.is_empty() {
            return None;
        }
        let Component { component_type, version, name, .. } = component;
        if component_type.is_empty() || version.is_empty() {
            return Some(format!(
                "component '{name}' cannot be loaded because components.deny is set and it has no type or version"
            ));
        }
        let denied = self.deny.iter().any(|entry| match entry.split_once('/') {
            None => entry == component_type,
            // An entry with more than one slash means nothing.
            Some((_, v)) if v.contains('/') => false,
            Some((t, v)) => t == component_type && (v.is_empty() || v == version),
        });
        denied.then(|| {
            let log_name = component.log_name();
            format!(
                "component '{name}' cannot be loaded because components of type '{log_name}' are not allowed"
            )
        })
    }
}
