//! `runtime_component_*`, `runtime_mtls_*`, `runtime_actor_*`, `runtime_acl_*`
//! and `runtime_workflow_acl_*`.

use super::flag;
use crate::metrics::family::{Counter, Family, Gauge};
use crate::metrics::registry::Registry;

/// Loading of components.
#[derive(Debug)]
pub struct RuntimeMetrics {
    loaded: Counter,
    initialized: Family<Counter>,
    failed: Family<Counter>,
}

impl RuntimeMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            loaded: registry.counter("runtime/component/loaded", "Components loaded.", &[]).with(&[]),
            initialized: registry.counter(
                "runtime/component/init_total",
                "Components initialised.",
                &["component"],
            ),
            failed: registry.counter(
                "runtime/component/init_fail_total",
                "Components that failed to initialise.",
                &["component", "reason", "componentName"],
            ),
        }
    }

    pub fn component_loaded(&self) {
        self.loaded.increment();
    }

    /// `component_type` is the whole type, such as `state.redis`.
    pub fn component_initialized(&self, component_type: &str) {
        self.initialized.with(&[component_type]).increment();
    }

    /// `reason` is `init` or `creation`.
    pub fn component_failed(&self, component_type: &str, reason: &str, name: &str) {
        self.failed.with(&[component_type, reason, name]).increment();
    }
}

/// The sidecar's own certificates.
#[derive(Debug)]
pub struct MtlsMetrics {
    initialized: Counter,
    init_failed: Family<Counter>,
    rotated: Counter,
    rotation_failed: Family<Counter>,
    root_ends: Gauge,
    issuer_ends: Gauge,
    workload_ends: Gauge,
}

impl MtlsMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let plain = |name: &str, help| registry.counter(name, help, &[]).with(&[]);
        let failed = |name: &str, help| registry.counter(name, help, &["reason"]);
        let time = |name: &str, help| registry.gauge(name, help, &[]).with(&[]);
        Self {
            initialized: plain("runtime/mtls/init_total", "mTLS set up."),
            init_failed: failed("runtime/mtls/init_fail_total", "Failures to set up mTLS."),
            rotated: plain("runtime/mtls/workload_cert_rotated_total", "Certificates renewed."),
            rotation_failed: failed(
                "runtime/mtls/workload_cert_rotated_fail_total",
                "Failures to renew the certificate.",
            ),
            // These three are ours: Dapr tells of the issuer alone, and only at the authority.
            root_ends: time(
                "runtime/mtls/root_cert_expiry_timestamp",
                "Unix time in seconds at which the root certificate ends.",
            ),
            issuer_ends: time(
                "runtime/mtls/issuer_cert_expiry_timestamp",
                "Unix time in seconds at which the issuer certificate ends.",
            ),
            workload_ends: time(
                "runtime/mtls/workload_cert_expiry_timestamp",
                "Unix time in seconds at which the sidecar's own certificate ends.",
            ),
        }
    }

    pub fn initialized(&self) {
        self.initialized.increment();
    }

    /// `reason` is one of `sentry_conn`, `sentry_token`, `sign`, `invalid_ts`,
    /// `jwt_parse`, `jwt_aud`.
    pub fn init_failed(&self, reason: &str) {
        self.init_failed.with(&[reason]).increment();
    }

    pub fn rotated(&self) {
        self.rotated.increment();
    }

    /// Ends of the certificates, in Unix seconds.
    pub fn certificates_end(&self, root: i64, issuer: i64, workload: i64) {
        self.root_ends.set(root);
        self.issuer_ends.set(issuer);
        self.workload_ends.set(workload);
    }

    /// Reasons as for [`MtlsMetrics::init_failed`].
    pub fn rotation_failed(&self, reason: &str) {
        self.rotation_failed.with(&[reason]).increment();
    }
}

/// Actors hosted here. Three families of the contract (status reports and
/// table operations) are never recorded by daprd and are not declared.
#[derive(Debug)]
pub struct ActorMetrics {
    rebalanced: Family<Counter>,
    deactivated: Family<Counter>,
    deactivation_failed: Family<Counter>,
    pending_calls: Family<Gauge>,
    timers: Family<Gauge>,
    reminders_fired: Family<Counter>,
    timers_fired: Family<Counter>,
}

impl ActorMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let of_type = &["actor_type"];
        let fired = &["actor_type", "success"];
        Self {
            rebalanced: registry.counter("runtime/actor/rebalanced_total", "Actors drained.", of_type),
            deactivated: registry.counter("runtime/actor/deactivated_total", "Actors deactivated.", of_type),
            deactivation_failed: registry.counter(
                "runtime/actor/deactivated_failed_total",
                "Actors that failed to deactivate.",
                of_type,
            ),
            pending_calls: registry.gauge(
                "runtime/actor/pending_actor_calls",
                "Calls that wait for their actor.",
                of_type,
            ),
            timers: registry.gauge("runtime/actor/timers", "Timers registered.", of_type),
            reminders_fired: registry.counter(
                "runtime/actor/reminders_fired_total",
                "Reminders fired.",
                fired,
            ),
            timers_fired: registry.counter("runtime/actor/timers_fired_total", "Timers fired.", fired),
        }
    }

    pub fn rebalanced(&self, actor_type: &str) {
        self.rebalanced.with(&[actor_type]).increment();
    }

    pub fn deactivated(&self, actor_type: &str) {
        self.deactivated.with(&[actor_type]).increment();
    }

    pub fn deactivation_failed(&self, actor_type: &str) {
        self.deactivation_failed.with(&[actor_type]).increment();
    }

    /// The gauge of calls that wait for an actor of this type: keep it.
    pub fn pending_calls(&self, actor_type: &str) -> Gauge {
        self.pending_calls.with(&[actor_type])
    }

    pub fn set_timers(&self, actor_type: &str, count: i64) {
        self.timers.with(&[actor_type]).set(count);
    }

    pub fn reminder_fired(&self, actor_type: &str, success: bool) {
        self.reminders_fired.with(&[actor_type, flag(success)]).increment();
    }

    pub fn timer_fired(&self, actor_type: &str, success: bool) {
        self.timers_fired.with(&[actor_type, flag(success)]).increment();
    }
}

/// Decisions of access control.
#[derive(Debug)]
pub struct AclMetrics {
    app: [Family<Counter>; 2],
    global: [Family<Counter>; 2],
    workflow: [Family<Counter>; 2],
}

impl AclMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        // `app_id` is the caller here, not this application.
        let invoke = &["app_id", "trustDomain", "namespace"];
        let workflow = &["src_app_id", "operation", "type"];
        let family = |name: &str, help, labels| registry.counter(name, help, labels);
        let allowed = "Requests that a policy allowed.";
        let refused = "Requests that a policy refused.";
        Self {
            app: [
                family("runtime/acl/app_policy_action_blocked_total", refused, invoke),
                family("runtime/acl/app_policy_action_allowed_total", allowed, invoke),
            ],
            global: [
                family("runtime/acl/global_policy_action_blocked_total", refused, invoke),
                family("runtime/acl/global_policy_action_allowed_total", allowed, invoke),
            ],
            workflow: [
                family("runtime/workflow/acl_action_denied_total", refused, workflow),
                family("runtime/workflow/acl_action_allowed_total", allowed, workflow),
            ],
        }
    }

    /// A decision by the policy of the application that is called.
    pub fn app_policy(&self, allowed: bool, caller: &str, trust_domain: &str, namespace: &str) {
        self.app[usize::from(allowed)].with(&[caller, trust_domain, namespace]).increment();
    }

    /// A decision by the default action.
    pub fn global_policy(&self, allowed: bool, caller: &str, trust_domain: &str, namespace: &str) {
        self.global[usize::from(allowed)].with(&[caller, trust_domain, namespace]).increment();
    }

    /// A decision by a WorkflowAccessPolicy; `kind` is `workflow`, `activity`
    /// or `reminder`.
    pub fn workflow(&self, allowed: bool, caller: &str, operation: &str, kind: &str) {
        self.workflow[usize::from(allowed)].with(&[caller, operation, kind]).increment();
    }
}
