//! From Resiliency resources to policies in force.

use std::sync::Arc;

use dapr_resiliency::{Policies, PoliciesBuilder};
use dapr_resources::Resiliency;
use dapr_resources::loader::Loaded;
use dapr_telemetry::metrics::catalogue::Catalogue;

use crate::telemetry::ResiliencyObserver;

const SCOPE: &str = "dapr.runtime";

/// Policies of all resources and the resources' names.
pub fn build(loaded: &Loaded<Resiliency>, metrics: Option<Arc<Catalogue>>) -> (Policies, Vec<String>) {
    for warning in &loaded.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let mut builder = PoliciesBuilder::new();
    if let Some(metrics) = metrics {
        builder = builder.observer(Arc::new(ResiliencyObserver(metrics)));
    }
    let mut names = Vec::new();
    for resource in &loaded.resources {
        builder.load(resource);
        names.push(resource.name.clone());
    }
    (builder.build(), names)
}
