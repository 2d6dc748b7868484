//! Resources that this release reads and does not serve, named in the log
//! (docs/gaps.md).

use std::path::PathBuf;

use dapr_resources::loader::{LoadContext, load_mcp_servers, load_workflow_access_policies};

const SCOPE: &str = "dapr.runtime";

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
