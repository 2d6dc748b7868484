use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use dapr_app_channel::AppChannel;
use dapr_components::configuration::{ConfigurationStore, Error, Items, Query, UpdateHandler};
use dapr_errors::{ApiError, configuration as errors};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_resiliency::{Direction, Kind, Policies, Policy};
use dapr_telemetry::metrics::catalogue::{Catalogue, operation};
use parking_lot::Mutex;

use super::app::AppPoster;
use super::stream::{StreamSender, UpdateStream};
use crate::observed::Meter;

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub policies: Policies,
    pub tasks: TaskGroup,
    pub metrics: Option<Arc<Catalogue>>,
}

/// A store with what surrounds its calls.
struct Loaded {
    store: Arc<dyn ConfigurationStore>,
    outbound: Policy,
    /// For updates to the application.
    inbound: Policy,
    get: Meter,
    subscribe: Meter,
    unsubscribe: Meter,
}

impl Loaded {
    async fn run<T, Fut>(&self, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.outbound.call(call, |_| true, Error::new).await
    }
}

/// Who gets the updates of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// The application, by calls.
    App,
    /// Whoever holds the stream.
    Stream,
}

struct Subscription {
    store: String,
    receiver: Receiver,
    stop: Shutdown,
}

/// Configuration. Cloning shares it.
#[derive(Clone)]
pub struct ConfigurationService(Arc<Inner>);

struct Inner {
    options: Options,
    stores: ArcSwap<HashMap<String, Arc<Loaded>>>,
    app: ArcSwapOption<AppChannel>,
    subscriptions: Mutex<HashMap<String, Subscription>>,
}

impl ConfigurationService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            stores: ArcSwap::default(),
            app: ArcSwapOption::empty(),
            subscriptions: Mutex::default(),
        }))
    }

    pub fn set_app_channel(&self, channel: Option<AppChannel>) {
        self.0.app.store(channel.map(Arc::new));
    }

    /// Adds or replaces a store.
    pub fn add(&self, name: &str, store: Arc<dyn ConfigurationStore>) {
        let Options { policies, metrics, .. } = &self.0.options;
        let meter = |op| Meter::new(metrics.as_deref().map(|m| &m.components.configuration), name, op);
        let loaded = Arc::new(Loaded {
            store,
            outbound: policies.component(name, Kind::Configuration, Direction::Outbound),
            inbound: policies.component(name, Kind::Configuration, Direction::Inbound),
            get: meter(operation::GET),
            subscribe: meter(operation::SUBSCRIBE),
            unsubscribe: meter(operation::UNSUBSCRIBE),
        });
        self.0.stores.rcu(|stores| {
            let mut next = HashMap::clone(stores);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
    }

    /// Ends the store's subscriptions and takes it away.
    pub fn remove(&self, name: &str) -> Option<Arc<dyn ConfigurationStore>> {
        let removed = self.0.stores.load().get(name).map(|loaded| loaded.store.clone());
        self.0.stores.rcu(|stores| {
            let mut next = HashMap::clone(stores);
            next.remove(name);
            next
        });
        self.end_where(|subscription| subscription.store == name);
        removed
    }

    pub async fn get(&self, store: &str, query: &Query) -> Result<Items, ApiError> {
        let found = self.store(store)?;
        let call = found.run(|| found.store.get(query));
        found.get.watch(call).await.map_err(|e| errors::get_failed(&query.keys, store, e))
    }

    /// Updates go to the application as calls of
    /// `configuration/<store>/<key>`; the answer is the subscription's id.
    pub async fn subscribe_app(&self, store: &str, query: Query) -> Result<String, ApiError> {
        let found = self.store(store)?;
        if self.0.app.load().is_none() {
            return Err(errors::no_app_channel());
        }
        let id = new_id();
        let stop = self.0.options.tasks.shutdown().child();
        let handler = AppPoster {
            service: self.clone(),
            store: store.to_owned(),
            id: id.clone(),
            policy: found.inbound.clone(),
            stop: stop.clone(),
        };
        self.subscribe(store, &found, query, &stop, Arc::new(handler)).await?;
        self.remember(&id, store, Receiver::App, stop);
        Ok(id)
    }

    /// Updates go to the stream; dropping that ends the subscription.
    pub async fn subscribe_stream(&self, store: &str, mut query: Query) -> Result<UpdateStream, ApiError> {
        let found = self.store(store)?;
        query.keys.sort_unstable();
        let id = new_id();
        let stop = self.0.options.tasks.shutdown().child();
        let (sender, updates) = StreamSender::new();
        self.subscribe(store, &found, query, &stop, Arc::new(sender)).await?;
        self.remember(&id, store, Receiver::Stream, stop.clone());
        Ok(UpdateStream { id, updates, stop, service: self.clone() })
    }

    async fn subscribe(
        &self,
        store: &str,
        found: &Loaded,
        query: Query,
        stop: &Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), ApiError> {
        let call = found.run(|| found.store.subscribe(query.clone(), stop.clone(), handler.clone()));
        let outcome = found.subscribe.watch(call).await;
        outcome.map_err(|e| {
            // An attempt that was given up may still come to stand.
            stop.trigger();
            errors::subscribe_failed(&query.keys, store, e)
        })
    }

    fn remember(&self, id: &str, store: &str, receiver: Receiver, stop: Shutdown) {
        let subscription = Subscription { store: store.to_owned(), receiver, stop };
        self.0.subscriptions.lock().insert(id.to_owned(), subscription);
    }

    /// Ends a subscription of any kind at the store; its id is no longer known.
    pub async fn unsubscribe(&self, store: &str, id: &str) -> Result<(), ApiError> {
        let found = self.store(store)?;
        let outcome = found
            .unsubscribe
            .watch(async {
                let mut subscriptions = self.0.subscriptions.lock();
                match subscriptions.get(id) {
                    Some(subscription) if subscription.store == store => {
                        subscription.stop.trigger();
                        subscriptions.remove(id);
                        Ok(())
                    }
                    _ => Err(found.store.unknown_subscription(id)),
                }
            })
            .await;
        outcome.map_err(|reason| errors::unsubscribe_failed(id, reason))
    }

    /// Ends a stream, whichever store it is of.
    pub fn end_stream(&self, id: &str) -> Result<(), ApiError> {
        let mut subscriptions = self.0.subscriptions.lock();
        match subscriptions.get(id) {
            Some(subscription) if subscription.receiver == Receiver::Stream => {
                subscription.stop.trigger();
                let ended = subscriptions.remove(id);
                self.count_end(ended.as_ref());
                Ok(())
            }
            _ => Err(errors::unsubscribe_failed(id, "subscription does not exist")),
        }
    }

    /// The holder of a stream has gone.
    pub(super) fn abandon(&self, id: &str) {
        let gone = self.0.subscriptions.lock().remove(id);
        self.count_end(gone.as_ref());
    }

    fn count_end(&self, ended: Option<&Subscription>) {
        let stores = self.0.stores.load();
        if let Some(found) = ended.and_then(|ended| stores.get(&ended.store)) {
            found.unsubscribe.end(found.unsubscribe.start(), true);
        }
    }

    /// Ends everything: the sidecar stops.
    pub fn stop(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, matches: impl Fn(&Subscription) -> bool) {
        self.0.subscriptions.lock().retain(|_, subscription| {
            let ends = matches(subscription);
            if ends {
                subscription.stop.trigger();
            }
            !ends
        });
    }

    pub(super) fn app_channel(&self) -> Option<Arc<AppChannel>> {
        self.0.app.load_full()
    }

    fn store(&self, name: &str) -> Result<Arc<Loaded>, ApiError> {
        let stores = self.0.stores.load();
        if stores.is_empty() {
            return Err(errors::not_configured());
        }
        stores.get(name).cloned().ok_or_else(|| errors::store_not_found(name))
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
