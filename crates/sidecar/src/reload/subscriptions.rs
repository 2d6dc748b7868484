//! Declared subscriptions: from resources to routes, at the start and later.

use dapr_blocks::pubsub::{self, Description, PubSubService, Route, SharedRoute};
use dapr_resources::{Resource, Subscription};

const SCOPE: &str = "dapr.runtime.hotreload.reconciler";

/// The declared subscriptions of a sidecar.
#[derive(Default)]
pub struct Declared {
    app_id: String,
    known: Vec<(Subscription, SharedRoute)>,
}

impl Declared {
    /// Hands the subscriptions that are meant for this app to `pubsub`, which
    /// starts them when the application is healthy.
    pub fn load(
        app_id: &str,
        subscriptions: Vec<Subscription>,
        pubsub: &PubSubService,
    ) -> Result<Self, String> {
        let mut known = Vec::new();
        for subscription in subscriptions.into_iter().filter(|s| s.is_scoped_to(app_id)) {
            tracing::info!(target: "dapr.runtime", "Found Subscription: {}", subscription.name);
            let route =
                route(&subscription).map_err(|e| format!("failed to load declarative subscriptions: {e}"))?;
            known.push((subscription, pubsub.add_declared(route)));
        }
        Ok(Self { app_id: app_id.to_owned(), known })
    }

    /// Makes `now` the declared subscriptions. One that cannot be compiled or
    /// started is fatal (runtime.md §4).
    pub async fn follow(&mut self, now: Vec<Subscription>, pubsub: &PubSubService) -> Result<(), String> {
        let now: Vec<Subscription> = now.into_iter().filter(|s| s.is_scoped_to(&self.app_id)).collect();
        let same = |a: &Subscription, b: &Subscription| a.comparable() == b.comparable();
        let gone: Vec<_> = self.known.extract_if(.., |(old, _)| !now.iter().any(|s| same(s, old))).collect();
        let arrived: Vec<_> =
            now.into_iter().filter(|s| !self.known.iter().any(|(old, _)| same(old, s))).collect();
        if gone.is_empty() && arrived.is_empty() {
            return Ok(());
        }
        for (old, _) in &gone {
            if arrived.iter().any(|s| s.name == old.name) {
                tracing::info!(target: SCOPE, "Closing existing Subscription to reload: {}", old.name);
            }
        }
        let routes: Vec<SharedRoute> = gone.into_iter().map(|(_, route)| route).collect();
        pubsub.withdraw(&routes).await;
        for subscription in arrived {
            tracing::info!(target: SCOPE, "Adding Subscription for processing: {}", subscription.name);
            let shared = pubsub.declare(route(&subscription)?).await?;
            tracing::info!(target: SCOPE, "Subscription updated: {}", subscription.name);
            self.known.push((subscription, shared));
        }
        Ok(())
    }
}

fn route(subscription: &Subscription) -> Result<Route, String> {
    let Subscription { name, source, routes, bulk_subscribe: bulk, .. } = subscription;
    let mut rules: Vec<(String, String)> =
        routes.rules.iter().map(|r| (r.matches.clone(), r.path.clone())).collect();
    if !routes.default.is_empty() {
        rules.push((String::new(), routes.default.clone()));
    }
    let description = Description {
        pubsub: subscription.pubsub_name.clone(),
        topic: subscription.topic.clone(),
        metadata: subscription.metadata.clone(),
        rules,
        dead_letter_topic: subscription.dead_letter_topic.clone(),
        bulk: pubsub::bulk_settings(bulk.enabled, bulk.max_messages_count, bulk.max_await_duration_ms),
    };
    description
        .compile(pubsub::Origin::Declarative)
        .map_err(|e| format!("subscription {name} in {source}: {e}"))
}
