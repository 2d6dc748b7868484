//! Acknowledgements of one subscription, gathered while one is on its way.

use tokio::sync::mpsc;

use super::{Shared, wire};
use crate::connection::text;

/// Messages that may wait to be acknowledged; beyond, handlers wait.
const ACK_QUEUE: usize = 1024;
/// Most messages that one command acknowledges.
const ACK_BATCH: usize = 256;

pub(super) type AckSender = mpsc::Sender<String>;

pub(super) fn channel() -> (AckSender, mpsc::Receiver<String>) {
    mpsc::channel(ACK_QUEUE)
}

/// Runs until every sender is gone, so that what was handled during a shutdown
/// is acknowledged, too.
pub(super) async fn run(shared: &Shared, topic: &str, mut handled: mpsc::Receiver<String>) {
    let mut ids = Vec::new();
    while handled.recv_many(&mut ids, ACK_BATCH).await > 0 {
        acknowledge(shared, topic, &ids).await;
        ids.clear();
    }
}

/// A failure leaves the messages pending: they are delivered again.
pub(super) async fn acknowledge(shared: &Shared, topic: &str, ids: &[String]) {
    let command = wire::ack_command(topic, &shared.settings.consumer, ids);
    if let Err(error) = shared.connection.call(&command).await {
        tracing::error!(
            target: "dapr.contrib", component = %shared.log_name,
            "Error acknowledging Redis message {}: {}", ids.join(", "), text(&error)
        );
    }
}
