//! Resources that this release reads and does not serve, named in the log
//! (docs/gaps.md).

use dapr_resources::{McpServer, WorkflowAccessPolicy};

use crate::source::Source;

const SCOPE: &str = "dapr.runtime";

/// Resources of kinds that nothing here uses yet; a place that cannot be read
/// is reported by whoever loads components from it.
pub async fn warn_of_resources(source: &Source) {
    let servers = source.load::<McpServer>().await.map(|l| l.resources).unwrap_or_default();
    for server in servers {
        tracing::warn!(target: SCOPE, "MCPServer {} is not served in this release and has no effect", server.name);
    }
    let policies = source.load::<WorkflowAccessPolicy>().await.map(|l| l.resources).unwrap_or_default();
    for policy in policies {
        tracing::warn!(
            target: SCOPE,
            "WorkflowAccessPolicy {} has no effect in this release, which runs no workflows",
            policy.name
        );
    }
}
