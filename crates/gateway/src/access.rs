//! Which API groups an application may call (api.md §10).

use std::collections::BTreeSet;

use dapr_resources::configuration::{ApiProtocol, ApiSpec};

/// Allow and deny lists of both protocols, ready for matching at start-up.
#[derive(Clone, Debug, Default)]
pub struct ApiAccess {
    http: Lists,
    grpc: Lists,
}

#[derive(Clone, Debug, Default)]
struct Lists {
    /// Entries are `version/name`.
    allowed: BTreeSet<String>,
    denied: BTreeSet<String>,
}

impl ApiAccess {
    pub fn new(spec: &ApiSpec) -> Self {
        let lists =
            |protocol| Lists { allowed: spec.allowed_for(protocol), denied: spec.denied_for(protocol) };
        Self { http: lists(ApiProtocol::Http), grpc: lists(ApiProtocol::Grpc) }
    }

    /// `pattern` is the route without a leading slash: older configurations
    /// name a prefix of it instead of a group.
    pub fn allows_http(&self, group: &str, version: &str, pattern: &str) -> bool {
        let listed = |list: &BTreeSet<String>| {
            list.iter().any(|entry| {
                entry.split_once('/').is_some_and(|(v, name)| v == version && name == group)
                    || pattern.starts_with(entry.as_str())
            })
        };
        !listed(&self.http.denied) && (self.http.allowed.is_empty() || listed(&self.http.allowed))
    }

    pub fn allows_grpc(&self, group: &str, version: &str) -> bool {
        let entry = format!("{version}/{group}");
        !self.grpc.denied.contains(&entry)
            && (self.allows_unlisted_grpc() || self.grpc.allowed.contains(&entry))
    }

    /// Whether methods of no group may be called: no allow list excludes them.
    pub fn allows_unlisted_grpc(&self) -> bool {
        !self.grpc.allowed.iter().any(|entry| is_known(entry))
    }
}

/// Entries that name no group of the gRPC API do not count.
fn is_known(entry: &str) -> bool {
    entry.split_once('/').is_some_and(|(version, group)| crate::grpc::is_group(group, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allowed: &[&str], denied: &[&str]) -> ApiAccess {
        let set = |list: &[&str]| list.iter().map(|e| (*e).to_owned()).collect();
        let lists = Lists { allowed: set(allowed), denied: set(denied) };
        ApiAccess { http: lists.clone(), grpc: lists }
    }

    #[test]
    fn deny_wins_and_an_empty_allow_list_allows_all() {
        assert!(access(&[], &[]).allows_http("state", "v1", "v1.0/state/{store}"));
        assert!(!access(&[], &["v1/state"]).allows_http("state", "v1", "v1.0/state/{store}"));
        assert!(!access(&["v1/secrets"], &[]).allows_http("state", "v1", "v1.0/state/{store}"));
        assert!(access(&["v1.0/state"], &[]).allows_http("state", "v1", "v1.0/state/{store}"));
        assert!(!access(&["v1/state"], &["v1/state"]).allows_grpc("state", "v1"));
    }

    #[test]
    fn grpc_entries_that_name_nothing_are_ignored() {
        assert!(access(&["v1/workflows"], &[]).allows_grpc("state", "v1"));
        assert!(!access(&["v1/secrets"], &[]).allows_grpc("state", "v1"));
    }
}
