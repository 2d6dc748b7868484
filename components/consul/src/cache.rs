//! Instances kept up to date by queries that the agent answers when something
//! has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use parking_lot::RwLock;

use crate::agent::{Agent, Entry};

/// Pauses after failed queries: doubling, with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(180);
/// Applications that are watched; others are asked for each time.
const MAX_WATCHED: usize = 1000;

/// Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<RwLock<HashMap<String, Vec<Entry>>>>);

impl Cache {
    /// A random instance that is known. The first question about an
    /// application has it watched from then on.
    pub(crate) fn pick(&self, service: &str, agent: &Arc<Agent>, tasks: &TaskGroup) -> Option<Entry> {
        if let Some(entries) = self.0.read().get(service) {
            return fastrand::choice(entries).cloned();
        }
        let mut watched = self.0.write();
        if watched.len() < MAX_WATCHED && !watched.contains_key(service) {
            watched.insert(service.to_owned(), Vec::new());
            let watch = Watch { cache: self.clone(), service: service.to_owned(), agent: agent.clone() };
            tasks.spawn_until_shutdown("consul-watch", watch.run());
        }
        None
    }
}

struct Watch {
    cache: Cache,
    service: String,
    agent: Arc<Agent>,
}

impl Watch {
    async fn run(self) {
        let (mut index, mut pause) = (0, FIRST_PAUSE);
        loop {
            match self.agent.newer(&self.service, index).await {
                Ok((entries, now)) => {
                    self.cache.0.write().insert(self.service.clone(), entries);
                    // An index that goes back begins anew.
                    index = if now < index { 0 } else { now.max(1) };
                    pause = FIRST_PAUSE;
                }
                // At once without waiting, in case that it was the waiting.
                Err(_) if index != 0 => index = 0,
                Err(error) => {
                    // Unknown instances are asked for each time.
                    self.cache.0.write().insert(self.service.clone(), Vec::new());
                    tracing::error!(
                        target: "dapr.contrib",
                        "consul service-watcher error: {error}, retry in {}s", pause.as_secs()
                    );
                    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause = pause.saturating_mul(2).min(LAST_PAUSE);
                }
            }
        }
    }
}
