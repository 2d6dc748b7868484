//! Hot reload: what changes in the folders or the cluster changes in the
//! running sidecar (runtime.md §4).

mod subscriptions;

use dapr_kernel::health::Health;
use dapr_kernel::tasks::TaskGroup;
use dapr_resources::configuration::Configuration;
use dapr_resources::loader::Diagnostic;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::processor::{Processor, Retries};
use crate::source::{Built, Changes};
pub use subscriptions::Declared;

const SCOPE: &str = "dapr.runtime.hotreload";

/// The watched kinds with their health targets, which are ready once changes
/// are noticed (runtime.md §2.2), and whether a change restarts the sidecar.
const KINDS: [(&str, &str, bool); 5] = [
    ("Component", "component-reconciler", false),
    ("Subscription", "subscription-reconciler", false),
    ("Configuration", "configuration-sighup-reconciler", true),
    ("HTTPEndpoint", "httpendpoint-sighup-reconciler", true),
    ("Resiliency", "resiliency-sighup-reconciler", true),
];

/// Says so, in the log and to the health check, once changes are noticed.
pub fn announce(changes: &Changes, health: &Health, tasks: &TaskGroup) {
    let targets = KINDS.map(|(kind, target, restarts)| (kind, health.add_target(target), restarts));
    let established = changes.established();
    tasks.spawn_until_shutdown("reconcilers", async move {
        established.await;
        for (kind, target, restarts) in targets {
            let purpose = if restarts { " for SIGHUP reload" } else { "" };
            tracing::info!(
                target: "dapr.runtime.hotreload.reconciler",
                "Starting to watch {kind} updates{purpose}"
            );
            target.ready();
        }
    });
}

/// What a reload asks of the sidecar.
#[derive(Debug, PartialEq, Eq)]
pub enum Demand {
    /// End and be built again in this process.
    Restart,
    /// End with an error.
    Fail(String),
}

/// Makes one sidecar follow its resources.
pub struct Reloader {
    pub changes: Changes,
    /// What the sidecar was built from.
    pub built: Built,
}

/// Follows changes, and starts components whose servers come late, until the
/// sidecar has to end. Without a reloader only the latter.
pub async fn run(
    reloader: Option<Reloader>,
    config: &Configuration,
    processor: &Processor,
    mut declared: Declared,
) -> Demand {
    let mut retries = Retries::new(processor);
    let Some(mut reloader) = reloader else {
        tracing::debug!(target: SCOPE, "Hot reloading disabled");
        loop {
            let attempt = retries.next().await;
            if let Err(error) = retries.settle(attempt).await {
                return Demand::Fail(error.to_string());
            }
        }
    };
    tracing::info!(
        target: SCOPE,
        "Hot reloading enabled. Daprd will reload 'Component', 'Subscription', 'Configuration', 'HTTPEndpoint' and 'Resiliency' resources when they are added, updated or deleted."
    );
    let interval = reloader.changes.interval;
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = reloader.changes.next() => {}
            _ = ticks.tick() => {}
            attempt = retries.next() => {
                if let Err(error) = retries.settle(attempt).await {
                    return Demand::Fail(error.to_string());
                }
                continue;
            }
        }
        if let Err(demand) = reloader.reconcile(config, processor, &mut declared).await {
            return demand;
        }
    }
}

impl Reloader {
    /// Reads everything again and makes the sidecar follow.
    async fn reconcile(
        &self,
        config: &Configuration,
        processor: &Processor,
        declared: &mut Declared,
    ) -> Result<(), Demand> {
        let now = self.changes.read(&self.built).map_err(Demand::Fail)?;
        if let Some(loaded) = now.components {
            report(&loaded.warnings);
            let allowed = loaded.resources.into_iter().filter(|component| {
                let denial = config.components.denial(component);
                if let Some(reason) = &denial {
                    tracing::warn!(target: SCOPE, "{reason}");
                }
                denial.is_none()
            });
            let difference = processor.difference(allowed.collect()).await;
            processor.apply(difference).await.map_err(|e| Demand::Fail(e.to_string()))?;
        }
        if let Some(loaded) = now.subscriptions {
            report(&loaded.warnings);
            declared.follow(loaded.resources, &processor.pubsub).await.map_err(Demand::Fail)?;
        }
        if now.restart { Err(Demand::Restart) } else { Ok(()) }
    }
}

fn report(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
}
