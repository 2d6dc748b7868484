//! Taking over messages that some consumer got and did not settle.

use std::collections::BTreeSet;

use redis::{RedisResult, Value, cmd};

use super::acks;
use super::consumer::Subscription;
use super::wire;
use crate::connection::text;

/// At once, then every `redeliverInterval`, until paused.
pub(super) async fn run(subscription: &Subscription) {
    let mut ticks = tokio::time::interval(subscription.shared.settings.redeliver_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let paused = &subscription.shared.paused;
    while paused.guard(ticks.tick()).await.is_some() {
        // Each round is bounded by what was pending; the next begins where
        // nothing new was found.
        while !paused.is_triggered() && round(subscription).await {}
    }
}

/// True when something was taken over or removed, so that more may be found.
async fn round(subscription: &Subscription) -> bool {
    let overdue = match overdue(subscription).await {
        Ok(ids) if ids.is_empty() => return false,
        Ok(ids) => ids,
        Err(error) => {
            // Without the group the reader is about to create it again.
            if error.code() != Some("NOGROUP") {
                tracing::error!(
                    target: "dapr.contrib", component = %subscription.shared.log_name,
                    "error retrieving pending Redis messages: {}", text(&error)
                );
            }
            return false;
        }
    };
    let timeout = subscription.shared.settings.processing_timeout.as_millis();
    let answer = match claim(subscription, timeout, &overdue).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(
                target: "dapr.contrib", component = %subscription.shared.log_name,
                "error claiming pending Redis messages: {}", text(&error)
            );
            return false;
        }
    };
    let (entries, gone) = wire::entries_of(&subscription.topic, answer);
    let mut progress = !entries.is_empty();
    let claimed: BTreeSet<_> = entries.iter().map(|entry| entry.id.clone()).collect();
    for entry in entries {
        subscription.dispatch(entry).await;
    }
    if gone {
        for id in overdue.iter().filter(|id| !claimed.contains(*id)) {
            progress |= remove_if_gone(subscription, id).await;
        }
    }
    progress
}

async fn overdue(subscription: &Subscription) -> RedisResult<Vec<String>> {
    let settings = &subscription.shared.settings;
    let mut command = cmd("XPENDING");
    command.arg(&*subscription.topic).arg(&settings.consumer).arg("-").arg("+").arg(settings.queue_depth);
    let pending = wire::pending_of(subscription.shared.connection.call(&command).await?);
    Ok(pending.into_iter().filter(|p| p.idle >= settings.processing_timeout).map(|p| p.id).collect())
}

async fn claim(subscription: &Subscription, min_idle: u128, ids: &[String]) -> RedisResult<Value> {
    let group = &subscription.shared.settings.consumer;
    let mut command = cmd("XCLAIM");
    command.arg(&*subscription.topic).arg(group).arg(group).arg(min_idle.to_string()).arg(ids);
    subscription.shared.connection.call(&command).await
}

/// An entry that was deleted from the stream stays pending on servers before 7
/// until it is acknowledged.
async fn remove_if_gone(subscription: &Subscription, id: &String) -> bool {
    let ids = std::slice::from_ref(id);
    match claim(subscription, 0, ids).await {
        Err(error) => {
            tracing::error!(
                target: "dapr.contrib", component = %subscription.shared.log_name,
                "error claiming pending Redis message {id}: {}", text(&error)
            );
            false
        }
        Ok(answer) => {
            let (entries, gone) = wire::entries_of(&subscription.topic, answer);
            if gone {
                acks::acknowledge(&subscription.shared, &subscription.topic, ids).await;
            }
            let progress = gone || !entries.is_empty();
            for entry in entries {
                subscription.dispatch(entry).await;
            }
            progress
        }
    }
}
