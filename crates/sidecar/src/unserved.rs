//! Settings and resources that this release reads and does not serve: refused
//! where ignoring them would be dangerous, otherwise named in the log
//! (docs/gaps.md).

use std::collections::HashMap;
use std::path::PathBuf;

use dapr_resources::configuration::Configuration;
use dapr_resources::loader::{LoadContext, load_mcp_servers, load_workflow_access_policies};

const SCOPE: &str = "dapr.runtime";

/// Settings whose absence of effect would be dangerous or surprising are
/// refused rather than ignored.
pub fn refuse(config: &Configuration) -> Result<(), String> {
    let mut unserved: HashMap<&str, bool> = HashMap::new();
    unserved.insert("spec.httpPipeline", !config.http_pipeline.handlers.is_empty());
    unserved.insert("spec.appHttpPipeline", !config.app_http_pipeline.handlers.is_empty());
    unserved.insert(
        "spec.accessControl",
        config
            .access_control
            .as_ref()
            .is_some_and(|a| !a.policies.is_empty() || a.default_action.eq_ignore_ascii_case("deny")),
    );
    let mut names: Vec<_> = unserved.into_iter().filter(|(_, used)| *used).map(|(name, _)| name).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the configuration uses {}, which this release does not have; remove it",
        names.join(" and ")
    ))
}

/// Tracing exporters: trace contexts are passed on, but no spans are made.
pub fn warn_of_settings(config: &Configuration) {
    let tracing_spec = &config.tracing;
    let exporters = [
        ("stdout", tracing_spec.stdout),
        ("zipkin", tracing_spec.zipkin.as_ref().is_some_and(|z| !z.endpoint_address.is_empty())),
        ("otel", tracing_spec.otel.as_ref().is_some_and(|o| !o.endpoint_address.is_empty())),
    ];
    for (name, _) in exporters.iter().filter(|(_, used)| *used) {
        tracing::warn!(
            target: SCOPE,
            "spec.tracing.{name} has no effect in this release: trace contexts are passed on, but no spans are exported"
        );
    }
}

/// Resources of kinds that nothing here uses yet; a folder that cannot be read
/// is reported by whoever loads components from it.
pub fn warn_of_resources(dirs: &[PathBuf], context: &LoadContext) {
    let servers = load_mcp_servers(dirs, context).map(|l| l.resources).unwrap_or_default();
    for server in servers {
        tracing::warn!(target: SCOPE, "MCPServer {} is not served in this release and has no effect", server.name);
    }
    let policies = load_workflow_access_policies(dirs, context).map(|l| l.resources).unwrap_or_default();
    for policy in policies {
        tracing::warn!(
            target: SCOPE,
            "WorkflowAccessPolicy {} has no effect in this release, which runs no workflows",
            policy.name
        );
    }
}
