//! Components and declared subscriptions that change while the sidecar runs
//! (runtime.md §4): what is in flight finishes, what follows goes to the new
//! one.

use std::sync::Arc;
use std::time::Duration;

use dapr_components::pubsub::PubSub;

use super::route::{Route, SharedRoute};
use super::scopes::PubSubConfig;
use super::service::{Loaded, PubSubService};
use super::subscriptions::{DRAIN_LIMIT, Running, SETTLE, seal, stop_all};

/// Time for messages that a component has fetched to reach the application
/// before a subscription ends; the others stay with the broker.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(1);

impl PubSubService {
    /// A component by name.
    pub fn component(&self, name: &str) -> Option<Arc<dyn PubSub>> {
        self.loaded(name).map(|l| l.component.clone())
    }

    /// Ends the subscriptions of a component that is about to go: returns when
    /// nothing is in flight. Streams of clients stay open and wait for
    /// [`Self::resume_component`].
    pub async fn suspend_component(&self, pubsub: &str) {
        let taken = self.take_running(pubsub);
        if taken.is_empty() {
            return;
        }
        if let Some(loaded) = self.loaded(pubsub) {
            hand_over(&loaded).await;
        }
        futures::future::join_all(taken.into_iter().map(|running| self.end(running))).await;
    }

    /// Subscribes with a component that was added: what the application wants
    /// of it, if the application is healthy, and streams that wait for it.
    pub async fn resume_component(&self, pubsub: &str) {
        if self.is_active() {
            self.discover().await;
            self.start_wanted(|route| route.pubsub == pubsub).await;
        }
        if let Some(loaded) = self.loaded(pubsub) {
            self.attach_streams(&loaded).await;
        }
    }

    /// Puts a component in the place of one whose messages live nowhere else:
    /// the new one is subscribed before anything is published to it, and the
    /// old one delivers what it still has.
    pub async fn replace_volatile(&self, name: &str, component: Arc<dyn PubSub>, config: PubSubConfig) {
        let old = self.loaded(name);
        let taken = self.take_running(name);
        let new = self.build(name, component, config);
        let starts: Vec<_> = self
            .wanted()
            .into_iter()
            .filter(|route| route.pubsub == name)
            .filter_map(|route| self.start(route, new.clone()))
            .collect();
        futures::future::join_all(starts).await;
        self.attach_streams(&new).await;
        self.insert(new);
        self.0.options.tasks.spawn("pubsub replaced", async move {
            if let Some(old) = old {
                let _ = tokio::time::timeout(DRAIN_LIMIT, old.component.pause()).await;
            }
            stop_all(taken).await;
        });
    }

    /// Adds a declared subscription while others run; `Err` when it could not
    /// be started, although it is then tried again.
    pub async fn declare(&self, route: Route) -> Result<SharedRoute, String> {
        let route = self.add_declared(route);
        self.settle_running().await.into_iter().try_for_each(|(started, outcome)| {
            if Arc::ptr_eq(&started, &route) { outcome } else { Ok(()) }
        })?;
        Ok(route)
    }

    /// Takes declared subscriptions away; what they have in flight finishes in
    /// the background.
    pub async fn withdraw(&self, routes: &[SharedRoute]) {
        for route in routes {
            self.forget_declared(route);
        }
        self.settle_running().await;
    }

    /// Ends what is not wanted any more and starts what is.
    async fn settle_running(&self) -> Vec<(SharedRoute, Result<(), String>)> {
        if !self.is_active() {
            return Vec::new();
        }
        let wanted = self.wanted();
        let is_wanted = |route: &SharedRoute| wanted.iter().any(|w| Arc::ptr_eq(w, route));
        let gone: Vec<Running> =
            self.0.manager.running.lock().list.extract_if(.., |r| !is_wanted(&r.route)).collect();
        if !gone.is_empty() {
            self.0.options.tasks.spawn("subscriptions withdrawn", stop_all(gone));
        }
        // A component that is not there is no failure of the subscription.
        self.start_wanted(|route| self.loaded(&route.pubsub).is_some()).await
    }

    fn take_running(&self, pubsub: &str) -> Vec<Running> {
        let manager = &self.0.manager;
        let mut taken: Vec<Running> =
            manager.running.lock().list.extract_if(.., |r| r.route.pubsub == pubsub).collect();
        let streams = manager.streams.lock();
        taken.extend(streams.iter().filter(|s| s.route.pubsub == pubsub).filter_map(|s| s.detach()));
        taken
    }

    /// Waits for what is in flight. Acknowledgements get their time while the
    /// caller goes on: a component lives on until its last user is gone.
    async fn end(&self, running: Running) {
        if !seal(&running).await {
            running.stop.trigger();
            return;
        }
        self.0.options.tasks.spawn("subscription end", async move {
            tokio::time::sleep(SETTLE).await;
            running.stop.trigger();
        });
    }

    async fn attach_streams(&self, loaded: &Arc<Loaded>) {
        let streams: Vec<_> = {
            let all = self.0.manager.streams.lock();
            all.iter().filter(|s| *s.route.pubsub == *loaded.name && !s.is_attached()).cloned().collect()
        };
        for stream in streams {
            if let Err(error) = self.attach(&stream, loaded).await {
                tracing::error!(target: "dapr.runtime.pubsub.streamer", "{error}");
            }
        }
    }
}

/// Lets a component hand over what it has fetched.
pub(super) async fn hand_over(loaded: &Loaded) {
    if tokio::time::timeout(HAND_OVER_LIMIT, loaded.component.pause()).await.is_err() {
        tracing::debug!(target: "dapr.runtime.pubsub", "pubsub {} keeps messages back for later", loaded.name);
    }
}
