//! Who may publish or subscribe to what (api.md §6.4).

use std::collections::HashSet;

use dapr_components::Properties;

/// The topics that one operation may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `None`: the application has no scope of its own.
    scoped: Option<HashSet<String>>,
    allowed: HashSet<String>,
    protected: HashSet<String>,
}

impl Access {
    fn new(properties: &Properties, scope_property: &str, app_id: &str) -> Self {
        Self {
            scoped: scope(properties.get(scope_property).unwrap_or_default(), app_id),
            allowed: topics(properties.get("allowedTopics").unwrap_or_default()),
            protected: topics(properties.get("protectedTopics").unwrap_or_default()),
        }
    }

    pub fn allows(&self, topic: &str) -> bool {
        if !self.allowed.is_empty() && !self.allowed.contains(topic) {
            return false;
        }
        match &self.scoped {
            Some(scoped) => scoped.contains(topic),
            None => !self.protected.contains(topic),
        }
    }
}

/// Settings that the runtime applies around a pub/sub component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PubSubConfig {
    pub publish: Access,
    pub subscribe: Access,
    /// Topics carry the namespace at the broker.
    pub namespace_scoped: bool,
}

impl PubSubConfig {
    /// `namespace_scoped`: the component's metadata uses `{namespace}`.
    pub fn new(properties: &Properties, app_id: &str, namespace_scoped: bool) -> Self {
        Self {
            publish: Access::new(properties, "publishingScopes", app_id),
            subscribe: Access::new(properties, "subscriptionScopes", app_id),
            namespace_scoped,
        }
    }
}

/// `app1=t1,t2;app2=t3`; blanks do not count. `None`: the app is not listed.
fn scope(text: &str, app_id: &str) -> Option<HashSet<String>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut found = None;
    for part in text.split(';') {
        let Some((app, list)) = part.split_once('=') else { continue };
        if app == app_id {
            found.get_or_insert_with(HashSet::new).extend(topics(list));
        }
    }
    found
}

fn topics(text: &str) -> HashSet<String> {
    text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(pairs: &[(&str, &str)]) -> Access {
        PubSubConfig::new(&Properties::new(pairs.iter().copied()).unwrap(), "me", false).publish
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        assert!(access(&[]).allows("any"));
    }

    #[test]
    fn a_scope_lists_all_that_is_allowed() {
        let a = access(&[("publishingScopes", "me = a, b; other=c")]);
        assert!(a.allows("a") && a.allows("b") && !a.allows("c"));
        let none = access(&[("publishingScopes", "me=")]);
        assert!(!none.allows("a"), "an empty scope denies all");
        let other = access(&[("publishingScopes", "other=c")]);
        assert!(other.allows("a"), "an unlisted application is free");
    }

    #[test]
    fn allowed_and_protected_topics() {
        let a = access(&[("allowedTopics", "a,b"), ("protectedTopics", "b")]);
        assert!(a.allows("a") && !a.allows("b") && !a.allows("c"));
        let scoped = access(&[("protectedTopics", "b"), ("publishingScopes", "me=b")]);
        assert!(scoped.allows("b"));
    }
}
