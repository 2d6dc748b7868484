//! From component resources to running components (runtime.md §2.3, §3.3).

mod bindings;
mod configuration;
mod conversation;
mod crypto;
mod inventory;
mod load;
mod lock;
mod middleware;
mod pubsub;
mod reload;
mod retire;
mod retry;
mod secret_refs;
mod secret_stores;
mod state;

use std::sync::Arc;
use std::time::Duration;

use dapr_blocks::bindings::BindingsService;
use dapr_blocks::configuration::ConfigurationService;
use dapr_blocks::conversation::ConversationService;
use dapr_blocks::crypto::CryptoService;
use dapr_blocks::lock::LockService;
use dapr_blocks::metadata::{ComponentInfo, MetadataService};
use dapr_blocks::outbox::Outbox;
use dapr_blocks::pubsub::PubSubService;
use dapr_blocks::secrets::SecretsService;
use dapr_blocks::state::StateService;
use dapr_components::middleware::Middlewares;
use dapr_components::registry::{Constructor, Kind, Registry};
use dapr_components::{InitContext, InitError, Properties};
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;
use dapr_resources::Component;
use dapr_resources::Resource;
use dapr_resources::template::{ProcessEnv, TemplateContext};
use dapr_telemetry::metrics::catalogue::Catalogue;

const SCOPE: &str = "dapr.runtime.processor";
/// Categories that component types may begin with.
const CATEGORIES: [&str; 9] = [
    "bindings.",
    "configuration.",
    "crypto.",
    "lock.",
    "pubsub.",
    "secretstores.",
    "state.",
    "middleware.",
    "conversation.",
];

pub use inventory::Inventory;
pub use retry::Retries;
pub use secret_refs::SecretRefs;

/// Starts components and hands them to the blocks that serve them.
pub struct Processor {
    pub registry: Registry,
    pub identity: AppIdentity,
    pub templates: TemplateContext,
    pub secret_refs: SecretRefs,
    pub state: StateService,
    pub pubsub: PubSubService,
    pub bindings: BindingsService,
    pub secrets: SecretsService,
    pub configuration: ConfigurationService,
    pub conversation: ConversationService,
    pub crypto: CryptoService,
    pub lock: LockService,
    pub outbox: Outbox,
    pub metadata: MetadataService,
    pub middleware: Middlewares,
    pub tasks: TaskGroup,
    pub metrics: Option<Arc<Catalogue>>,
    pub inventory: Inventory,
}

/// A component that failed although it must not.
#[derive(Debug, thiserror::Error)]
#[error("process component {name} error: {reason}")]
pub struct ProcessError {
    name: String,
    reason: String,
}

impl Processor {
    /// The component with what its references stand for.
    async fn resolve(&self, mut component: Component) -> Component {
        for refusal in component.apply_env(&ProcessEnv) {
            tracing::warn!(target: SCOPE, "{refusal}");
        }
        self.secret_refs.resolve(component, &self.secrets).await
    }

    /// Starts a component and hands it to its block; what it became with its
    /// references resolved.
    async fn start(&self, component: Component) -> Result<Component, Refusal> {
        let kind = component.component_type.to_lowercase();
        if !CATEGORIES.iter().any(|c| kind.starts_with(c)) {
            let reason = format!("incorrect type {}", component.component_type);
            return Err(Refusal { reason, transient: false, wrapped: false });
        }
        let log_name = component.log_name();
        let component = self.resolve(component).await;
        // Middleware bounds itself: it may have to ask a provider first.
        let timeout = match kind.starts_with("middleware.") {
            true => Duration::MAX,
            false => component.init_timeout_or_default(),
        };
        match tokio::time::timeout(timeout, self.create(&component, &kind)).await {
            Ok(Ok(())) => Ok(component),
            Ok(Err(failure)) => Err(self.failed(&component, failure)),
            Err(_) => {
                let elapsed = seconds(timeout);
                let text = format!("init timeout for component {log_name} exceeded after {elapsed}");
                Err(self.failed(&component, Failure::Init(text)))
            }
        }
    }

    fn failed(&self, component: &Component, failure: Failure) -> Refusal {
        if let Some(metrics) = &self.metrics {
            metrics.runtime.component_failed(&component.component_type, failure.kind(), &component.name);
        }
        let transient = matches!(failure, Failure::Init(_));
        Refusal { reason: failure.describe(&component.log_name()), transient, wrapped: true }
    }

    fn initialized(&self, component: &Component) {
        if let Some(metrics) = &self.metrics {
            metrics.runtime.component_initialized(&component.component_type);
        }
    }

    /// Takes every component away from its block and closes it, all at once
    /// (runtime.md §2.5).
    pub async fn close_all(&self) {
        let components = self.metadata.components();
        futures::future::join_all(components.iter().map(|c| self.close(c))).await;
    }

    async fn close(&self, component: &ComponentInfo) {
        let ComponentInfo { name, component_type, version, .. } = component;
        let version = if version.is_empty() { String::new() } else { format!("/{version}") };
        tracing::info!(target: SCOPE, "Shutting down component {name} ({component_type}{version})");
        let category = component_type.to_lowercase();
        match category.split('.').next().unwrap_or_default() {
            "state" => self.close_state(name).await,
            "pubsub" => self.close_pubsub(name).await,
            "secretstores" => self.close_secret_store(name).await,
            "bindings" => self.close_bindings(name).await,
            "configuration" => self.close_configuration(name).await,
            "conversation" => self.close_conversation(name).await,
            "crypto" => self.close_crypto(name).await,
            "lock" => self.close_lock(name).await,
            "middleware" => self.close_middleware(name).await,
            // Nothing else is loaded.
            _ => {}
        }
    }

    async fn create(&self, component: &Component, kind: &str) -> Result<(), Failure> {
        let mut properties = self.properties(component)?;
        if kind.starts_with("pubsub.") {
            let consumer = properties.get("consumerID").unwrap_or_default().trim().to_owned();
            let consumer = if consumer.is_empty() { self.identity.app_id().to_owned() } else { consumer };
            properties.set("consumerID", consumer);
        }
        let context = InitContext {
            name: component.name.as_str().into(),
            component_type: kind.into(),
            version: component.version.as_str().into(),
            properties,
            identity: self.identity.clone(),
            tasks: self.tasks.clone(),
        };
        let capabilities = match kind.split('.').next().unwrap_or_default() {
            "state" => self.create_state(component, context).await?,
            "pubsub" => self.create_pubsub(component, context).await?,
            "secretstores" => self.create_secret_store(component, context).await?,
            "bindings" => self.create_bindings(component, context).await?,
            "configuration" => self.create_configuration(component, context).await?,
            "conversation" => self.create_conversation(component, context).await?,
            "crypto" => self.create_crypto(component, context).await?,
            "lock" => self.create_lock(component, context).await?,
            "middleware" => self.create_middleware(component, context).await?,
            _ => return Err(Failure::Creation(not_found(component))),
        };
        if !matches!(kind.split('.').next(), Some("bindings" | "middleware")) {
            self.initialized(component);
        }
        self.metadata.add_component(ComponentInfo {
            name: component.name.clone(),
            component_type: component.component_type.clone(),
            version: component.version.clone(),
            capabilities,
        });
        Ok(())
    }

    fn properties(&self, component: &Component) -> Result<Properties, Failure> {
        let values = component.properties(&self.templates).map_err(|e| Failure::Init(e.to_string()))?;
        Properties::new(values).map_err(|e| Failure::Init(e.to_string()))
    }
}

/// The constructor of a component's type and version.
fn find<T: ?Sized>(kind: &Kind<T>, component: &Component) -> Result<Constructor<InitContext, T>, Failure> {
    kind.find(&component.component_type, &component.version)
        .ok_or_else(|| Failure::Creation(not_found(component)))
}

/// Why a component was not started.
struct Refusal {
    reason: String,
    /// Another try may succeed.
    transient: bool,
    /// It came from the component and not from the checks before.
    wrapped: bool,
}

/// Why a component could not be started, in the contract's two kinds.
enum Failure {
    Creation(String),
    Init(String),
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        Self::Init(error.to_string())
    }
}

impl Failure {
    /// As metrics name it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Creation(_) => "creation",
            Self::Init(_) => "init",
        }
    }

    fn into_reason(self) -> String {
        match self {
            Self::Creation(reason) | Self::Init(reason) => reason,
        }
    }

    fn describe(&self, log_name: &str) -> String {
        let (kind, verb, reason) = match self {
            Self::Creation(reason) => ("CREATE_COMPONENT_FAILURE", "creation", reason),
            Self::Init(reason) => ("INIT_COMPONENT_FAILURE", "initialization", reason),
        };
        format!("[{kind}]: {verb} error occurred for {log_name}: {reason}")
    }
}

fn not_found(component: &Component) -> String {
    let (t, v) = (&component.component_type, &component.version);
    let what = match t.to_lowercase().split('.').next().unwrap_or_default() {
        "state" => "state store",
        "pubsub" => "message bus",
        "secretstores" => "secret store",
        "lock" => "lock store",
        "configuration" => "configuration store",
        "crypto" => "crypto provider",
        "conversation" => "conversation",
        "middleware" => return format!("HTTP middleware {t}/{v} has not been registered"),
        _ => "component",
    };
    format!("couldn't find {what} {t}/{v}")
}

fn seconds(duration: Duration) -> String {
    dapr_gocompat::duration::format_duration(duration)
}

#[cfg(test)]
mod tests;
