//! Stopping without losing anything (runtime.md §2.5).

use std::time::Duration;

use dapr_app_channel::health::AppHealth;
use dapr_gocompat::duration::format_duration;

const SCOPE: &str = "dapr.runtime";

/// Keeps serving for `limit`, or until the application is unhealthy; new
/// messages and events are no longer taken meanwhile.
pub async fn block_shutdown(
    limit: Duration,
    health: &AppHealth,
    pubsub: &dapr_blocks::pubsub::PubSubService,
    bindings: &dapr_blocks::bindings::BindingsService,
) {
    tracing::info!(
        target: SCOPE,
        "Blocking graceful shutdown for {} or until app reports unhealthy...",
        format_duration(limit)
    );
    bindings.stop_inputs_for_good().await;
    pubsub.pause_components().await;
    pubsub.stop_subscriptions_for_good().await;
    let mut changes = health.subscribe();
    let unhealthy = async {
        // A sender that is gone cannot report health any more either.
        let _ = changes.wait_for(|healthy| !healthy).await;
    };
    tokio::select! {
        () = tokio::time::sleep(limit) => {
            tracing::info!(target: SCOPE, "Block shutdown period expired, entering shutdown...");
        }
        () = unhealthy => {
            tracing::info!(target: SCOPE, "App reported unhealthy, entering shutdown...");
        }
    }
}
