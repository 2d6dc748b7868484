//! From Resiliency resources to policies in force.

use std::path::PathBuf;
use std::sync::Arc;

use dapr_resiliency::{Policies, PoliciesBuilder, spec};
use dapr_resources::loader::load_resiliency;
use dapr_telemetry::metrics::catalogue::Catalogue;

use crate::telemetry::ResiliencyObserver;

const SCOPE: &str = "dapr.runtime";

/// Policies of all resources and the resources' names.
pub fn load(dirs: &[PathBuf], app_id: &str, metrics: Option<Arc<Catalogue>>) -> (Policies, Vec<String>) {
    let loaded = load_resiliency(dirs, app_id);
    for warning in &loaded.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let mut builder = PoliciesBuilder::new();
    if let Some(metrics) = metrics {
        builder = builder.observer(Arc::new(ResiliencyObserver(metrics)));
    }
    let mut names = Vec::new();
    for resource in &loaded.resources {
        match spec::Resource::from_value(&resource.document()) {
            Ok(parsed) => {
                builder.load(&parsed);
                names.push(resource.name.clone());
            }
            Err(error) => {
                tracing::error!(target: SCOPE, "Could not read resiliency policy {}: {error}", resource.name);
            }
        }
    }
    (builder.build(), names)
}
