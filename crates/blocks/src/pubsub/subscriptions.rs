//! Which subscriptions stand: declared and programmatic ones merged, started
//! when the application is healthy, stopped without losing what is in flight
//! (api.md §5.4, §6.6; runtime.md §2.5).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dapr_components::pubsub::SubscribeRequest;
use dapr_kernel::Shutdown;
use dapr_resiliency::Builtin;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::deliver::AppPostman;
use super::discovery::{self, Description};
use super::handler::{Drain, Handler, Postman};
use super::route::{Origin, Route, SharedRoute};
use super::service::{Loaded, PubSubService};
use crate::metadata::SubscriptionInfo;

const SCOPE: &str = "dapr.runtime.pubsub";
/// How long a stop waits for messages in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Time for acknowledgements to reach the broker after a drain.
const SETTLE: Duration = Duration::from_millis(400);
/// Pauses between tries to start a subscription.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Manager {
    declared: Mutex<Vec<SharedRoute>>,
    /// Asked for once a process; `None` before.
    programmatic: Mutex<Option<Vec<SharedRoute>>>,
    running: Mutex<Vec<Running>>,
    /// Opened by clients; they live as long as their streams.
    streaming: Mutex<Vec<Running>>,
}

/// One subscription that was started.
struct Running {
    route: SharedRoute,
    stop: Shutdown,
    drain: Arc<Drain>,
}

impl PubSubService {
    /// Replaces the declared subscriptions; those that run are not touched.
    pub fn set_declared(&self, declared: Vec<Route>) {
        *self.0.manager.declared.lock() = declared.into_iter().map(Arc::new).collect();
    }

    /// What the metadata API lists: every subscription that is wanted.
    pub fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        let mut all = self.wanted();
        all.extend(self.0.manager.streaming.lock().iter().map(|r| r.route.clone()));
        all.iter().map(|route| info(route)).collect()
    }

    /// Programmatic subscriptions replace declared ones of the same topic; of
    /// several declared ones the first counts.
    fn wanted(&self) -> Vec<SharedRoute> {
        let mut seen = HashSet::new();
        let programmatic = self.0.manager.programmatic.lock().clone().unwrap_or_default();
        let declared = self.0.manager.declared.lock().clone();
        let mut wanted: Vec<SharedRoute> = Vec::new();
        for route in programmatic.iter().chain(declared.iter()) {
            if seen.insert((route.pubsub.clone(), route.topic.clone())) {
                wanted.push(route.clone());
            }
        }
        wanted
    }

    /// Starts every wanted subscription that does not run yet, and returns when
    /// each was tried once. A start that fails is tried again in the background
    /// for ever.
    pub async fn start_subscriptions(&self) {
        self.discover().await;
        if self.0.app.load().is_none() {
            return;
        }
        futures::future::join_all(self.wanted().into_iter().filter_map(|route| self.start(route))).await;
    }

    /// Starts what is wanted of one component: after a reload.
    pub async fn start_component(&self, pubsub: &str) {
        if self.0.app.load().is_none() {
            return;
        }
        let wanted = self.wanted().into_iter().filter(|r| r.pubsub == pubsub);
        futures::future::join_all(wanted.filter_map(|route| self.start(route))).await;
    }

    async fn discover(&self) {
        let Some(channel) = self.0.app.load_full() else { return };
        if self.0.table.load().is_empty() || self.0.manager.programmatic.lock().is_some() {
            return;
        }
        if self.0.options.skip_programmatic {
            tracing::warn!(target: SCOPE, "Skipping programmatic subscription loading");
            *self.0.manager.programmatic.lock() = Some(Vec::new());
            return;
        }
        let app_id = self.0.options.identity.app_id();
        let policy = self.0.options.policies.builtin(Builtin::InitializationRetries);
        let asked = policy.run(|_| async { discovery::ask(&channel, app_id).await.map_err(AskFailed) }).await;
        let found = asked.unwrap_or_else(|error| {
            tracing::error!(target: SCOPE, "error getting topics list from app: {error}");
            Vec::new()
        });
        let routes = found.into_iter().filter_map(compile).map(Arc::new).collect();
        *self.0.manager.programmatic.lock() = Some(routes);
    }

    /// Begins a subscription; what is returned resolves after the first try.
    fn start(&self, route: SharedRoute) -> Option<oneshot::Receiver<()>> {
        let Some(loaded) = self.loaded(&route.pubsub) else {
            tracing::error!(target: SCOPE, "subscription to topic '{}': pubsub '{}' not found", route.topic, route.pubsub);
            return None;
        };
        let stop = self.0.options.tasks.shutdown().child();
        let drain = Arc::new(Drain::default());
        {
            let mut running = self.0.manager.running.lock();
            if running.iter().any(|r| Arc::ptr_eq(&r.route, &route)) {
                return None;
            }
            running.push(Running { route: route.clone(), stop: stop.clone(), drain: drain.clone() });
        }
        if !loaded.config.subscribe.allows(&route.topic) {
            tracing::error!(
                target: SCOPE,
                "error occurred while beginning pubsub {}: subscription to topic '{}' on pubsub '{}' is not allowed",
                route.pubsub, route.topic, route.pubsub
            );
            return None;
        }
        let service = self.clone();
        let guard = stop.clone();
        let (tried, first_try) = oneshot::channel();
        self.0.options.tasks.spawn("subscription start", async move {
            guard.guard(service.subscribe_until_it_stands(&loaded, route, stop, drain, tried)).await;
        });
        Some(first_try)
    }

    async fn subscribe_until_it_stands(
        &self,
        loaded: &Arc<Loaded>,
        route: SharedRoute,
        stop: Shutdown,
        drain: Arc<Drain>,
        tried: oneshot::Sender<()>,
    ) {
        let mut tried = Some(tried);
        let postman: Arc<dyn Postman> = Arc::new(AppPostman { service: self.clone() });
        let mut pause = FIRST_RETRY;
        loop {
            match self.subscribe(loaded, &route, &stop, &drain, postman.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(target: SCOPE, "error occurred while beginning pubsub {} on topic {}: {error}", route.pubsub, route.topic);
                }
            }
            drop(tried.take());
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    /// Asks the component once.
    pub(super) async fn subscribe(
        &self,
        loaded: &Arc<Loaded>,
        route: &SharedRoute,
        stop: &Shutdown,
        drain: &Arc<Drain>,
        postman: Arc<dyn Postman>,
    ) -> Result<(), String> {
        let request = SubscribeRequest {
            topic: self.broker_topic(loaded, &route.topic),
            metadata: route.metadata.clone().into_iter().collect(),
        };
        let handler = Handler {
            service: self.clone(),
            loaded: loaded.clone(),
            route: route.clone(),
            postman,
            drain: drain.clone(),
            stop: stop.clone(),
        };
        let handler: Arc<dyn dapr_components::pubsub::MessageHandler> = match route.bulk {
            Some(bulk) => super::bulk_subscribe::batching(handler, bulk),
            None => Arc::new(handler),
        };
        loaded
            .component
            .subscribe(request, stop.clone(), handler)
            .await
            .map_err(|e| format!("failed to subscribe to topic {}: {e}", route.topic))
    }

    /// Tells every component that the sidecar is about to end: messages it has
    /// fetched but not handed over stay with the broker.
    pub async fn pause_components(&self) {
        let table = self.0.table.load_full();
        futures::future::join_all(table.values().map(|loaded| loaded.component.pause())).await;
    }

    /// Stops all subscriptions: no new messages, those in flight finish.
    pub async fn stop_subscriptions(&self) {
        let running = std::mem::take(&mut *self.0.manager.running.lock());
        stop_all(running).await;
    }

    /// Stops the subscriptions of one component: before it is replaced.
    pub async fn stop_component(&self, pubsub: &str) {
        let manager = &self.0.manager;
        let mut stopping = Vec::new();
        for list in [&manager.running, &manager.streaming] {
            stopping.extend(list.lock().extract_if(.., |r| r.route.pubsub == pubsub));
        }
        stop_all(stopping).await;
    }

    /// Ends all streams of clients: before the process ends.
    pub async fn stop_streams(&self) {
        let streaming = std::mem::take(&mut *self.0.manager.streaming.lock());
        stop_all(streaming).await;
    }

    pub(super) fn add_streaming(&self, route: SharedRoute, stop: Shutdown, drain: Arc<Drain>) {
        self.0.manager.streaming.lock().push(Running { route, stop, drain });
    }

    pub(super) fn remove_streaming(&self, route: &SharedRoute) {
        self.0.manager.streaming.lock().retain(|r| !Arc::ptr_eq(&r.route, route));
    }
}

async fn stop_all(running: Vec<Running>) {
    let stops = running.into_iter().map(|r| async move {
        let busy = !r.drain.seal_and_wait(Duration::ZERO).await;
        if busy {
            if !r.drain.seal_and_wait(DRAIN_LIMIT).await {
                tracing::warn!(target: SCOPE, "drain exceeded {}s on topic {}", DRAIN_LIMIT.as_secs(), r.route.topic);
            }
            tokio::time::sleep(SETTLE).await;
        }
        r.stop.trigger();
    });
    futures::future::join_all(stops).await;
}

/// A question to the application that failed.
#[derive(Debug)]
struct AskFailed(String);

impl std::fmt::Display for AskFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl dapr_resiliency::Outcome for AskFailed {}

fn compile(description: Description) -> Option<Route> {
    let (topic, pubsub) = (description.topic.clone(), description.pubsub.clone());
    description
        .compile(Origin::Programmatic)
        .inspect_err(|e| tracing::error!(target: SCOPE, "subscription to topic {topic} on pubsub {pubsub} is left out: {e}"))
        .ok()
}

fn info(route: &Route) -> SubscriptionInfo {
    SubscriptionInfo {
        pubsub_name: route.pubsub.clone(),
        topic: route.topic.clone(),
        metadata: route.metadata.clone(),
        rules: route.rules.iter().map(|r| (r.expression.clone(), r.path.clone())).collect(),
        dead_letter_topic: route.dead_letter_topic.clone(),
        kind: route.origin,
    }
}
