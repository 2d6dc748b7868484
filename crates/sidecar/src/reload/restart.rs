//! Kinds whose change restarts the sidecar in the process.

use std::fmt::Debug;

use dapr_resources::diff::{Diff, diff};
use dapr_resources::loader::{LoadContext, LoadError, ResourceFiles};
use dapr_resources::{HttpEndpoint, Resiliency, Resource};

use super::SCOPE;

/// What the running sidecar was built from.
#[derive(Debug, Default)]
pub struct Built {
    configurations: Vec<dapr_resources::ConfigurationDocument>,
    endpoints: Vec<HttpEndpoint>,
    resiliencies: Vec<Resiliency>,
}

impl Built {
    pub fn read(files: &ResourceFiles, context: &LoadContext) -> Result<Self, LoadError> {
        Ok(Self {
            configurations: files.load(context)?.resources,
            endpoints: files.load(context)?.resources,
            resiliencies: files.load(context)?.resources,
        })
    }

    /// Whether `now` asks for a restart; says why in the log.
    pub fn differs(&self, now: &Self) -> bool {
        let configurations = report(&diff(&self.configurations, &now.configurations));
        let endpoints = report(&diff(&self.endpoints, &now.endpoints));
        let resiliencies = report(&diff(&self.resiliencies, &now.resiliencies));
        configurations || endpoints || resiliencies
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
