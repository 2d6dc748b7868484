//! Updates for a client that holds a stream open.

use async_trait::async_trait;
use dapr_components::configuration::{Items, UpdateHandler};
use dapr_kernel::Shutdown;
use tokio::sync::mpsc;

use super::ConfigurationService;

/// Updates on their way to one client that it has not taken yet; the store
/// waits when it is full.
const QUEUE: usize = 64;

/// Changed items of one subscription.
pub type Update = Items;

/// An open stream. Dropping it ends the subscription.
pub struct UpdateStream {
    pub id: String,
    pub(super) updates: mpsc::Receiver<Update>,
    pub(super) stop: Shutdown,
    pub(super) service: ConfigurationService,
}

impl UpdateStream {
    /// The next update; `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<Update> {
        self.stop.guard(self.updates.recv()).await.flatten()
    }
}

impl Drop for UpdateStream {
    fn drop(&mut self) {
        self.stop.trigger();
        self.service.abandon(&self.id);
    }
}

pub(super) struct StreamSender(mpsc::Sender<Update>);

impl StreamSender {
    pub(super) fn new() -> (Self, mpsc::Receiver<Update>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }
}

#[async_trait]
impl UpdateHandler for StreamSender {
    async fn handle(&self, changed: Items) {
        // Nobody listens any more: the subscription is about to end.
        let _ = self.0.send(changed).await;
    }
}
