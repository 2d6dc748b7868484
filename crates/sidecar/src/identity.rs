//! Who this sidecar is to others (control-plane.md §4).

use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use dapr_security::Security;
use dapr_security::expiry::Ends;
use dapr_security::provider::{Observer, Provider};
use dapr_security::rotation::Time;
use dapr_telemetry::metrics::catalogue::Catalogue;

use crate::options::Options;

/// Returns with mTLS once there is an identity, however long the authority is
/// away: nothing may be served before (control-plane.md §4.2).
pub async fn obtain(
    options: &Options,
    metrics: Option<Arc<Catalogue>>,
    tasks: &TaskGroup,
) -> Result<Security, String> {
    let provider = Provider::new(options.security.clone()).map_err(|e| e.to_string())?;
    provider.start(tasks, Arc::new(Counted(metrics))).await.map_err(|e| e.to_string())
}

/// Counts what happens to the identity.
struct Counted(Option<Arc<Catalogue>>);

impl Observer for Counted {
    fn initialized(&self) {
        if let Some(metrics) = &self.0 {
            metrics.mtls.initialized();
        }
    }

    fn init_failed(&self, reason: &str) {
        if let Some(metrics) = &self.0 {
            metrics.mtls.init_failed(reason);
        }
    }

    fn rotated(&self) {
        if let Some(metrics) = &self.0 {
            metrics.mtls.rotated();
        }
    }

    fn rotation_failed(&self, reason: &str) {
        if let Some(metrics) = &self.0 {
            metrics.mtls.rotation_failed(reason);
        }
    }

    fn certificates(&self, workload: Time, ends: Ends) {
        let seconds = |at: Time| i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
        if let Some(metrics) = &self.0 {
            metrics.mtls.certificates_end(seconds(ends.root), seconds(ends.issuer), seconds(workload));
        }
    }
}
