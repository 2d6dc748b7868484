//! From Resiliency resources to policies in force.

use std::path::PathBuf;

use dapr_resiliency::{Policies, PoliciesBuilder, spec};
use dapr_resources::loader::load_resiliency;

const SCOPE: &str = "dapr.runtime";

/// Policies of all resources and the resources' names.
pub fn load(dirs: &[PathBuf], app_id: &str) -> (Policies, Vec<String>) {
    let loaded = load_resiliency(dirs, app_id);
    for warning in &loaded.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let mut builder = PoliciesBuilder::new();
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
