//! Who this sidecar is to others (control-plane.md §4).

use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use dapr_security::Security;
use dapr_security::expiry::Ends;
use dapr_security::provider::{Observer, Provider};
use dapr_security::rotation::Time;
use dapr_telemetry::metrics::catalogue::Catalogue;
use parking_lot::Mutex;

use crate::options::Options;

const SCOPE: &str = "dapr.runtime.security";
/// Happenings that are kept until there are metrics: waiting for the authority
/// has no end.
const MAX_EARLY: usize = 64;

/// Returns with mTLS once there is an identity, however long the authority is
/// away: nothing may be served before (control-plane.md §4.2).
pub async fn obtain(options: &Options, observed: &Observed, tasks: &TaskGroup) -> Result<Security, String> {
    if options.mode.is_kubernetes() {
        check_user(options.skip_user_check)?;
    }
    let provider = Provider::new(options.security.clone()).map_err(|e| e.to_string())?;
    provider.start(tasks, Arc::new(observed.clone())).await.map_err(|e| e.to_string())
}

/// Containers of a cluster must not run as root (runtime.md §16).
fn check_user(skip: bool) -> Result<(), String> {
    if skip {
        tracing::warn!(target: SCOPE, "Skipping container UID/GID check due to env override.");
        return Ok(());
    }
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return Err("current user UID(0) is root. Dapr must be run as a non-root user in Kubernetes environments. To override this check, set the environment variable 'DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK=true'".to_owned());
    }
    tracing::info!(target: SCOPE, "Running in Kubernetes environment as user {user}");
    Ok(())
}

/// Counts what happens to the identity. The identity is first: what metrics
/// there are is known only when it has brought the configuration.
#[derive(Clone)]
pub struct Observed(Arc<Mutex<Counter>>);

enum Counter {
    /// Nobody counts yet.
    Early(Vec<Happening>),
    Late(Option<Arc<Catalogue>>),
}

enum Happening {
    Initialized,
    InitFailed(String),
    Rotated,
    RotationFailed(String),
    Certificates(Time, Ends),
}

impl Default for Observed {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Counter::Early(Vec::new()))))
    }
}

impl Observed {
    /// Counts in `metrics` what has happened, and what will.
    pub fn report_to(&self, metrics: Option<Arc<Catalogue>>) {
        let before = std::mem::replace(&mut *self.0.lock(), Counter::Late(metrics));
        if let Counter::Early(happenings) = before {
            happenings.into_iter().for_each(|happening| self.happened(happening));
        }
    }

    fn happened(&self, happening: Happening) {
        let metrics = match &mut *self.0.lock() {
            Counter::Early(happenings) => {
                if happenings.len() < MAX_EARLY {
                    happenings.push(happening);
                }
                return;
            }
            Counter::Late(metrics) => metrics.clone(),
        };
        let Some(metrics) = metrics else { return };
        match happening {
            Happening::Initialized => metrics.mtls.initialized(),
            Happening::InitFailed(reason) => metrics.mtls.init_failed(&reason),
            Happening::Rotated => metrics.mtls.rotated(),
            Happening::RotationFailed(reason) => metrics.mtls.rotation_failed(&reason),
            Happening::Certificates(workload, ends) => {
                let seconds = |at: Time| i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
                metrics.mtls.certificates_end(seconds(ends.root), seconds(ends.issuer), seconds(workload));
            }
        }
    }
}

impl Observer for Observed {
    fn initialized(&self) {
        self.happened(Happening::Initialized);
    }

    fn init_failed(&self, reason: &str) {
        self.happened(Happening::InitFailed(reason.to_owned()));
    }

    fn rotated(&self) {
        self.happened(Happening::Rotated);
    }

    fn rotation_failed(&self, reason: &str) {
        self.happened(Happening::RotationFailed(reason.to_owned()));
    }

    fn certificates(&self, workload: Time, ends: Ends) {
        self.happened(Happening::Certificates(workload, ends));
    }
}
