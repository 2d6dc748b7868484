use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dapr_components::state::Operation;
use dapr_kernel::{AppIdentity, Shutdown};
use parking_lot::Mutex;

use super::config::Config;
use super::event::{Origin, announce, marker};
use super::relay::Relay;
use crate::pubsub::{PubSubService, Trace};
use crate::state::StateService;

const SCOPE: &str = "dapr.outbox";

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub pubsub: PubSubService,
}

/// The outboxes of all state stores. Cloning shares it.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    options: Options,
    stores: ArcSwap<Stores>,
    readers: Mutex<Readers>,
}

type Stores = HashMap<String, Arc<Config>>;

/// The subscriptions to internal topics.
#[derive(Default)]
struct Readers {
    /// Where markers are; `None` before the start and after the end.
    state: Option<StateService>,
    running: HashMap<String, Reader>,
}

struct Reader {
    config: Arc<Config>,
    stop: Shutdown,
}

impl Outbox {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner { options, stores: ArcSwap::default(), readers: Mutex::default() }))
    }

    /// Sets, changes or takes away the outbox of a store.
    pub async fn configure(&self, store: &str, config: Option<Config>) {
        let config = config.map(Arc::new);
        self.0.stores.rcu(|stores| {
            let mut next = Stores::clone(stores);
            match &config {
                Some(config) => next.insert(store.to_owned(), config.clone()),
                None => next.remove(store),
            };
            next
        });
        self.settle().await;
    }

    /// Subscribes to the internal topics: the application is there. Once is
    /// enough, whatever the application's health does later.
    pub async fn start(&self, state: &StateService) {
        self.0.readers.lock().state.get_or_insert_with(|| state.clone());
        self.settle().await;
    }

    /// Ends all subscriptions.
    pub fn stop(&self) {
        let mut readers = self.0.readers.lock();
        readers.state = None;
        readers.running.drain().for_each(|(_, reader)| reader.stop.trigger());
    }

    /// A pub/sub component was added or replaced: subscribes with the new one.
    pub async fn resume_component(&self, pubsub: &str) {
        self.0.readers.lock().running.retain(|_, reader| {
            let other = reader.config.outbox_pubsub != pubsub;
            if !other {
                reader.stop.trigger();
            }
            other
        });
        self.settle().await;
    }

    /// Makes the subscriptions that run those that are wanted.
    async fn settle(&self) {
        let stores = self.0.stores.load_full();
        let mut starts = Vec::new();
        {
            let mut readers = self.0.readers.lock();
            let Some(state) = readers.state.clone() else { return };
            readers.running.retain(|store, reader| {
                let same = stores.get(store).is_some_and(|config| **config == *reader.config);
                if !same {
                    reader.stop.trigger();
                }
                same
            });
            for (store, config) in &*stores {
                if readers.running.contains_key(store) {
                    continue;
                }
                let (config, stop) = (config.clone(), Shutdown::new());
                readers.running.insert(store.clone(), Reader { config: config.clone(), stop: stop.clone() });
                let pubsub = self.0.options.pubsub.clone();
                starts.push(Relay { store: store.clone(), config, pubsub, state: state.clone(), stop });
            }
        }
        for relay in starts {
            self.subscribe(relay).await;
        }
    }

    /// A subscription that cannot be made is left to the next change of its
    /// component.
    async fn subscribe(&self, relay: Relay) {
        let (store, config, stop) = (relay.store.clone(), relay.config.clone(), relay.stop.clone());
        let topic = self.topic(&config);
        let pubsub = &config.outbox_pubsub;
        let made =
            self.0.options.pubsub.subscribe_internal(pubsub, &topic, stop.clone(), Arc::new(relay)).await;
        let Err(reason) = made else { return };
        tracing::warn!(target: SCOPE, "could not subscribe to internal outbox topic: {reason}");
        let mut readers = self.0.readers.lock();
        if readers.running.get(&store).is_some_and(|reader| Arc::ptr_eq(&reader.config, &config)) {
            readers.running.remove(&store);
        }
        stop.trigger();
    }

    /// Name of the internal topic.
    fn topic(&self, config: &Config) -> String {
        let identity = &self.0.options.identity;
        format!("{}{}{}outbox", identity.namespace(), identity.app_id(), config.publish_topic)
    }

    /// Hands what `operations` write to the internal topic of `store`'s outbox;
    /// what is left to be written afterwards. A store without an outbox gets
    /// its operations back.
    pub(crate) async fn publish(
        &self,
        store: &str,
        mut operations: Vec<Operation>,
        trace: Trace<'_>,
    ) -> Result<Vec<Operation>, String> {
        let Some(config) = self.0.stores.load().get(store).cloned() else { return Ok(operations) };
        let Options { identity, pubsub } = &self.0.options;
        let origin = Origin { app_id: identity.app_id(), pubsub: &config.outbox_pubsub, trace };
        let topic = self.topic(&config);
        for announced in announce(&mut operations, origin) {
            pubsub.publish_event(&config.outbox_pubsub, &topic, announced.event, None).await?;
            operations.push(marker(announced.marker));
        }
        Ok(operations)
    }

    pub(crate) fn app_id(&self) -> &str {
        self.0.options.identity.app_id()
    }
}
