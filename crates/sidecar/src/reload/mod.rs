//! Hot reload: what changes in the resource folders changes in the running
//! sidecar (runtime.md §4).

mod restart;
mod subscriptions;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use dapr_resources::Component;
use dapr_resources::configuration::Configuration;
use dapr_resources::loader::{Diagnostic, LoadContext, ResourceFiles};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::processor::{Processor, Retries};
use restart::Built;
pub use subscriptions::Declared;
use watch::Watch;

const SCOPE: &str = "dapr.runtime.hotreload";
/// Time between two full comparisons when the flag does not say (runtime.md §17).
pub const DEFAULT_RECONCILE_INTERVAL: Duration = Duration::from_secs(60);

/// Health targets of the watched kinds: they follow from when folders are
/// watched (runtime.md §2.2).
pub const READY_TARGETS: [&str; 5] = [
    "component-reconciler",
    "subscription-reconciler",
    "configuration-sighup-reconciler",
    "httpendpoint-sighup-reconciler",
    "resiliency-sighup-reconciler",
];

/// What a reload asks of the sidecar.
#[derive(Debug, PartialEq, Eq)]
pub enum Demand {
    /// End and be built again in this process.
    Restart,
    /// End with an error.
    Fail(String),
}

/// Watches the resource folders of one sidecar.
pub struct Reloader {
    dirs: Vec<PathBuf>,
    context: LoadContext,
    interval: Duration,
    watch: Watch,
    built: Built,
}

impl Reloader {
    /// Begins to watch; to be called before resources are loaded, so that no
    /// change is missed.
    pub fn new(dirs: &[PathBuf], context: &LoadContext, interval: Duration) -> Result<Self, String> {
        let watch = Watch::new(dirs).map_err(|e| format!("failed to create watcher: {e}"))?;
        let shown: Vec<_> = dirs.iter().map(|d| d.display().to_string()).collect();
        tracing::info!(target: SCOPE, "Watching directories: [{}]", shown.join(", "));
        // Whoever loads the kinds at the start reports what is wrong with them.
        let built =
            ResourceFiles::read(dirs).and_then(|files| Built::read(&files, context)).unwrap_or_default();
        let interval = if interval.is_zero() { DEFAULT_RECONCILE_INTERVAL } else { interval };
        Ok(Self { dirs: dirs.to_vec(), context: context.clone(), interval, watch, built })
    }
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
    let mut ticks = interval_at(Instant::now() + reloader.interval, reloader.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = reloader.watch.changed() => {}
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
        let failed = |error| Demand::Fail(format!("failed to load resources from disk: {error}"));
        let files = ResourceFiles::read(&self.dirs).map_err(|e| failed(e.to_string()))?;
        let loaded = files.load::<Component>(&self.context).map_err(|e| failed(e.to_string()))?;
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
        let subscriptions = files.subscriptions();
        report(&subscriptions.warnings);
        declared.follow(subscriptions.resources, &processor.pubsub).await.map_err(Demand::Fail)?;
        let now = Built::read(&files, &self.context).map_err(|e| failed(e.to_string()))?;
        if self.built.differs(&now) { Err(Demand::Restart) } else { Ok(()) }
    }
}

fn report(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
}
