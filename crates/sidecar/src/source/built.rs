//! Kinds whose change restarts the sidecar in the process (runtime.md §4).

use std::fmt::Debug;

use dapr_resources::diff::{Diff, diff};
use dapr_resources::loader::{LoadContext, LoadError, ResourceFiles};
use dapr_resources::{ConfigurationDocument, HttpEndpoint, Resiliency, Resource};

const SCOPE: &str = "dapr.runtime.hotreload.reconciler";

/// What a sidecar is built from. `None`: not known at the moment.
#[derive(Clone, Debug, Default)]
pub struct Built {
    pub configurations: Option<Vec<ConfigurationDocument>>,
    pub endpoints: Option<Vec<HttpEndpoint>>,
    pub resiliencies: Option<Vec<Resiliency>>,
}

impl Built {
    pub fn read(files: &ResourceFiles, context: &LoadContext) -> Result<Self, LoadError> {
        Ok(Self {
            configurations: Some(files.load(context)?.resources),
            endpoints: Some(files.load(context)?.resources),
            resiliencies: Some(files.load(context)?.resources),
        })
    }

    /// Whether `now` asks for a restart; says why in the log.
    pub fn differs(&self, now: &Self) -> bool {
        let configurations = changed(&self.configurations, &now.configurations);
        let endpoints = changed(&self.endpoints, &now.endpoints);
        let resiliencies = changed(&self.resiliencies, &now.resiliencies);
        configurations || endpoints || resiliencies
    }
}

fn changed<T: Resource + Debug>(before: &Option<Vec<T>>, now: &Option<Vec<T>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => report(&diff(before, now)),
        _ => false,
    }
}

fn report<T: Resource + Debug>(diff: &Diff<T>) -> bool {
    for (event, resources) in
        [("DELETED", &diff.deleted), ("UPDATED", &diff.updated), ("CREATED", &diff.created)]
    {
        for resource in resources {
            tracing::info!(
                target: SCOPE,
                "Received {} {event} event: {} - triggering SIGHUP reload",
                T::KIND,
                resource.log_name()
            );
        }
    }
    !diff.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(names: &[&str]) -> Built {
        let named = |name: &&str| HttpEndpoint { name: (*name).to_owned(), ..HttpEndpoint::default() };
        Built { endpoints: Some(names.iter().map(named).collect()), ..Built::default() }
    }

    #[test]
    fn what_is_not_known_has_not_changed() {
        let built = endpoints(&["a"]);
        assert!(!built.differs(&Built::default()));
        assert!(!Built::default().differs(&built));
        assert!(!built.differs(&endpoints(&["a"])));
        assert!(built.differs(&endpoints(&[])));
        assert!(built.differs(&endpoints(&["a", "b"])));
    }
}
