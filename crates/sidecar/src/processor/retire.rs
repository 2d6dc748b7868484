//! Components that are taken out of use: their last user finishes first.

use std::sync::Arc;
use std::time::Duration;

use dapr_blocks::bindings::Removed;
use dapr_components::middleware::HttpMiddleware;
use dapr_components::pubsub::PubSub;
use dapr_components::secrets::SecretStore;
use dapr_components::state::StateStore;

use super::Processor;

/// How long the users of a component may take (api.md §6.6).
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// A component that may still be in use by requests.
pub(super) enum Held {
    State(Arc<dyn StateStore>),
    PubSub(Arc<dyn PubSub>),
    SecretStore(Arc<dyn SecretStore>),
    Bindings(Removed),
    Middleware(Arc<dyn HttpMiddleware>),
}

impl Processor {
    /// The component of a block that can be exchanged while it is in use;
    /// `None` for the others, which are closed before the next one starts.
    pub(super) fn held(&self, name: &str, kind: &str) -> Option<Held> {
        match category(kind) {
            "state" => self.state.store(name, false).ok().map(|s| Held::State(s.store)),
            "pubsub" => self.pubsub.component(name).map(Held::PubSub),
            "secretstores" => self.secrets.raw_store(name).map(Held::SecretStore),
            "bindings" => Some(Held::Bindings(self.bindings.get(name))),
            "middleware" => self.middleware.get(name).map(Held::Middleware),
            _ => None,
        }
    }

    /// Takes a held component away from its block.
    pub(super) fn take_away(&self, name: &str, held: &Held) {
        match held {
            Held::State(_) => drop(self.state.remove(name)),
            Held::PubSub(_) => drop(self.pubsub.remove(name)),
            Held::SecretStore(_) => drop(self.secrets.remove(name)),
            Held::Bindings(_) => drop(self.bindings.remove(name)),
            Held::Middleware(_) => drop(self.middleware.remove(name)),
        }
    }

    /// Closes a component that no block has any more once nobody uses it.
    pub(super) fn retire(&self, held: Held) {
        self.tasks.spawn("component close", async move {
            match held {
                Held::State(store) => {
                    unused(&store).await;
                    store.close().await;
                }
                Held::PubSub(bus) => {
                    unused(&bus).await;
                    bus.close().await;
                }
                Held::SecretStore(store) => {
                    unused(&store).await;
                    store.close().await;
                }
                Held::Middleware(middleware) => {
                    unused(&middleware).await;
                    middleware.close().await;
                }
                Held::Bindings((output, input)) => {
                    if let Some(input) = input {
                        unused(&input).await;
                        input.close().await;
                    }
                    if let Some(output) = output {
                        unused(&output).await;
                        output.close().await;
                    }
                }
            }
        });
    }
}

/// What a component type begins with.
pub(super) fn category(kind: &str) -> &str {
    kind.split('.').next().unwrap_or_default()
}

/// Every request holds the component it works with.
async fn unused<T: ?Sized>(component: &Arc<T>) {
    let wait = async {
        let mut pause = FIRST_PAUSE;
        while Arc::strong_count(component) > 1 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    };
    let _ = tokio::time::timeout(DRAIN_LIMIT, wait).await;
}
