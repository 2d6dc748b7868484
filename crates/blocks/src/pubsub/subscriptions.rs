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
use super::streaming::Stream;
use crate::metadata::SubscriptionInfo;

const SCOPE: &str = "dapr.runtime.pubsub";
/// How long a stop waits for messages in flight.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Time for acknowledgements to reach the broker after a drain.
pub(super) const SETTLE: Duration = Duration::from_millis(400);
/// Pauses between tries to start a subscription.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Manager {
    declared: Mutex<Vec<SharedRoute>>,
    /// Asked for once a process; `None` before.
    programmatic: Mutex<Option<Vec<SharedRoute>>>,
    pub(super) running: Mutex<RunningSet>,
    /// Opened by clients; they live as long as their streams.
    pub(super) streams: Mutex<Vec<Arc<Stream>>>,
}

/// The application's subscriptions that were started.
#[derive(Default)]
pub(super) struct RunningSet {
    /// Whether subscriptions are to stand at all: the application is healthy.
    active: bool,
    /// The sidecar ends: nothing is started any more.
    closed: bool,
    pub(super) list: Vec<Running>,
}

/// One subscription that was started.
pub(super) struct Running {
    pub(super) route: SharedRoute,
    pub(super) stop: Shutdown,
    pub(super) drain: Arc<Drain>,
}

impl PubSubService {
    /// Adds a declared subscription, which is started with the next
    /// [`Self::start_subscriptions`]; see [`Self::declare`] for later ones.
    pub fn add_declared(&self, route: Route) -> SharedRoute {
        let route = Arc::new(route);
        self.0.manager.declared.lock().push(route.clone());
        route
    }

    pub(super) fn forget_declared(&self, route: &SharedRoute) {
        self.0.manager.declared.lock().retain(|r| !Arc::ptr_eq(r, route));
    }

    /// What the metadata API lists: every subscription that is wanted.
    pub fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        let mut all = self.wanted();
        all.extend(self.0.manager.streams.lock().iter().map(|s| s.route.clone()));
        all.iter().map(|route| info(route)).collect()
    }

    /// Programmatic subscriptions replace declared ones of the same topic. Of
    /// several programmatic ones the last counts, of several declared ones the
    /// first.
    pub(super) fn wanted(&self) -> Vec<SharedRoute> {
        let mut seen = HashSet::new();
        let mut first = |route: &SharedRoute| seen.insert((route.pubsub.clone(), route.topic.clone()));
        let programmatic = self.0.manager.programmatic.lock().clone().unwrap_or_default();
        let mut wanted: Vec<SharedRoute> = programmatic.into_iter().rev().filter(&mut first).collect();
        wanted.reverse();
        let declared = self.0.manager.declared.lock().clone();
        wanted.extend(declared.into_iter().filter(first));
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
        self.0.manager.running.lock().active = true;
        self.start_wanted(|_| true).await;
    }

    /// Whether subscriptions of the application are to stand now.
    pub(super) fn is_active(&self) -> bool {
        let running = self.0.manager.running.lock();
        running.active && !running.closed
    }

    /// Starts what is wanted and selected and does not run yet; each is tried
    /// once before this returns, with its outcome.
    pub(super) async fn start_wanted(
        &self,
        select: impl Fn(&SharedRoute) -> bool,
    ) -> Vec<(SharedRoute, Result<(), String>)> {
        let starts = self.wanted().into_iter().filter(select).filter_map(|route| {
            let loaded = self.loaded(&route.pubsub);
            if loaded.is_none() {
                tracing::error!(target: SCOPE, "subscription to topic '{}': pubsub '{}' not found", route.topic, route.pubsub);
            }
            let tried = self.start(route.clone(), loaded?)?;
            // A start that was given up because of a stop has not failed.
            Some(async move { (route, tried.await.unwrap_or(Ok(()))) })
        });
        futures::future::join_all(starts.collect::<Vec<_>>()).await
    }

    pub(super) async fn discover(&self) {
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
    pub(super) fn start(
        &self,
        route: SharedRoute,
        loaded: Arc<Loaded>,
    ) -> Option<oneshot::Receiver<Result<(), String>>> {
        let stop = self.0.options.tasks.shutdown().child();
        let drain = Arc::new(Drain::default());
        {
            let mut running = self.0.manager.running.lock();
            if !running.active || running.closed || running.list.iter().any(|r| Arc::ptr_eq(&r.route, &route))
            {
                return None;
            }
            running.list.push(Running { route: route.clone(), stop: stop.clone(), drain: drain.clone() });
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
        tried: oneshot::Sender<Result<(), String>>,
    ) {
        let mut tried = Some(tried);
        let postman: Arc<dyn Postman> = Arc::new(AppPostman { service: self.clone() });
        let mut pause = FIRST_RETRY;
        loop {
            match self.subscribe(loaded, &route, &stop, &drain, postman.clone()).await {
                Ok(()) => {
                    if let Some(tried) = tried.take() {
                        let _ = tried.send(Ok(()));
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(target: SCOPE, "error occurred while beginning pubsub {} on topic {}: {error}", route.pubsub, route.topic);
                    if let Some(tried) = tried.take() {
                        let _ = tried.send(Err(error));
                    }
                }
            }
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

    /// Tells every component that the sidecar is about to end: no new messages
    /// are fetched, and what a component cannot hand over in time stays with
    /// the broker.
    pub async fn pause_components(&self) {
        let table = self.0.table.load_full();
        futures::future::join_all(table.values().map(|loaded| super::reload::hand_over(loaded))).await;
    }

    /// Stops all subscriptions: no new messages, those in flight finish. They
    /// start again with [`Self::start_subscriptions`].
    pub async fn stop_subscriptions(&self) {
        let running = {
            let mut running = self.0.manager.running.lock();
            running.active = false;
            std::mem::take(&mut running.list)
        };
        stop_all(running).await;
    }

    /// Like [`Self::stop_subscriptions`], and nothing starts them again: the
    /// sidecar ends (runtime.md §2.5).
    pub async fn stop_subscriptions_for_good(&self) {
        self.0.manager.running.lock().closed = true;
        self.stop_subscriptions().await;
    }

    /// Ends all streams of clients: before the process ends.
    pub async fn stop_streams(&self) {
        let streams = std::mem::take(&mut *self.0.manager.streams.lock());
        stop_all(streams.iter().filter_map(|s| s.detach()).collect()).await;
        for stream in streams {
            stream.life.trigger();
        }
    }
}

/// Bars new messages, waits for those in flight and ends the subscriptions.
pub(super) async fn stop_all(running: Vec<Running>) {
    let stops = running.into_iter().map(|r| async move {
        if seal(&r).await {
            tokio::time::sleep(SETTLE).await;
        }
        r.stop.trigger();
    });
    futures::future::join_all(stops).await;
}

/// Bars new messages and waits for those in flight; true when there were any,
/// whose acknowledgements may still be on their way.
pub(super) async fn seal(running: &Running) -> bool {
    if running.drain.seal_and_wait(Duration::ZERO).await {
        return false;
    }
    if !running.drain.seal_and_wait(DRAIN_LIMIT).await {
        let topic = &running.route.topic;
        tracing::warn!(target: SCOPE, "drain exceeded {}s on topic {topic}", DRAIN_LIMIT.as_secs());
    }
    true
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
