use std::sync::atomic::{AtomicBool, Ordering};

use dapr_blocks::bindings::BindingsService;
use dapr_blocks::configuration::ConfigurationService;
use dapr_blocks::conversation::ConversationService;
use dapr_blocks::crypto::CryptoService;
use dapr_blocks::invoke::InvokeService;
use dapr_blocks::lock::LockService;
use dapr_blocks::metadata::MetadataService;
use dapr_blocks::pubsub::PubSubService;
use dapr_blocks::secrets::SecretsService;
use dapr_blocks::state::StateService;
use dapr_kernel::AppIdentity;
use dapr_kernel::health::Health;
use dapr_telemetry::trace::Tracer;
use tokio::sync::Notify;

use crate::http::ProtoMessages;

/// Every service that the two APIs offer. Shared by all requests.
pub struct Api {
    pub identity: AppIdentity,
    pub invoke: InvokeService,
    pub state: StateService,
    pub pubsub: PubSubService,
    pub bindings: BindingsService,
    pub secrets: SecretsService,
    pub configuration: ConfigurationService,
    pub conversation: ConversationService,
    pub crypto: CryptoService,
    pub lock: LockService,
    pub metadata: MetadataService,
    pub health: Health,
    pub tracer: Tracer,
    pub control: Control,
    pub proto_messages: ProtoMessages,
    /// Whether a placement address was given: decides how actor calls fail.
    pub placement_configured: bool,
    /// Whether a scheduler address was given: decides how job calls fail.
    pub scheduler_configured: bool,
}

/// What API calls ask of the sidecar as a whole.
#[derive(Debug, Default)]
pub struct Control {
    outbound_ready: AtomicBool,
    shutdown: Notify,
    force: Notify,
}

impl Control {
    /// Components are up; the application may not be.
    pub fn set_outbound_ready(&self, ready: bool) {
        self.outbound_ready.store(ready, Ordering::Release);
    }

    pub fn is_outbound_ready(&self) -> bool {
        self.outbound_ready.load(Ordering::Acquire)
    }

    /// A graceful stop, asked for through the API.
    pub fn request_shutdown(&self) {
        tracing::info!(target: "dapr.runtime", "Shutdown requested via API");
        self.shutdown.notify_one();
    }

    /// An immediate end with exit code 1, once the answer has left.
    pub fn request_force_shutdown(&self) {
        tracing::warn!(
            target: "dapr.runtime",
            "Force shutdown requested, exiting immediately without graceful shutdown"
        );
        self.force.notify_one();
    }

    pub async fn shutdown_requested(&self) {
        self.shutdown.notified().await;
    }

    pub async fn force_requested(&self) {
        self.force.notified().await;
    }
}
