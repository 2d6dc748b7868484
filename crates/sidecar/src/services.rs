//! The services of one sidecar, built from its options and configuration.

use std::net::IpAddr;
use std::sync::Arc;

use dapr_blocks::bindings::{self, BindingsService};
use dapr_blocks::configuration::{self, ConfigurationService};
use dapr_blocks::conversation::{self, ConversationService};
use dapr_blocks::crypto::{self, CryptoService};
use dapr_blocks::invoke::{self, AccessGuard, InvokeService};
use dapr_blocks::lock::{self, LockService};
use dapr_blocks::metadata::{self, AppConnection, AppHealthProperties, MetadataService};
use dapr_blocks::outbox::{self, Outbox};
use dapr_blocks::pubsub::{self, PubSubService};
use dapr_blocks::secrets::{self, SecretsService};
use dapr_blocks::state::{self, StateService};
use dapr_gateway::{Api, Control, http as http_api};
use dapr_gocompat::duration::format_duration;
use dapr_kernel::health::Health;
use dapr_kernel::tasks::TaskGroup;
use dapr_resiliency::Policies;
use dapr_resources::configuration::Configuration;
use dapr_security::Security;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::Tracer;

use crate::options::Options;
use crate::{VERSION, host, servers};

/// What every service is given.
pub struct Surroundings {
    pub policies: Policies,
    /// Names of the resources that the policies come from.
    pub resiliencies: Vec<String>,
    pub metrics: Option<Arc<Catalogue>>,
    pub tasks: TaskGroup,
    pub security: Security,
    /// Who may call our application.
    pub access: Option<Arc<AccessGuard>>,
    pub tracer: Tracer,
}

/// The services before they become the API.
pub struct Services {
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
    pub outbox: Outbox,
    pub tracer: Tracer,
}

impl Services {
    pub fn new(
        options: &Options,
        config: &Configuration,
        host: IpAddr,
        internal_port: u16,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings { policies, resiliencies, metrics, tasks, security, access, tracer } = surroundings;
        let identity = options.identity.clone();
        let stopping = tasks.clone();
        let pubsub = PubSubService::new(pubsub::Options {
            identity: identity.clone(),
            policies: policies.clone(),
            tasks: tasks.clone(),
            skip_programmatic: options.disabled_endpoints.subscribe,
            tracer: tracer.clone(),
            metrics: metrics.clone(),
        });
        let outbox = Outbox::new(outbox::Options { identity: identity.clone(), pubsub: pubsub.clone() });
        Self {
            invoke: InvokeService::new(invoke::Options {
                identity: identity.clone(),
                host_address: host.to_string(),
                hostname: host::hostname(),
                internal_port,
                max_message: options.max_body.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
                max_header_list: servers::grpc_header_list(options),
                max_concurrency: options.app.max_concurrency,
                policies: policies.clone(),
                security: Some(security),
                access,
                tasks: tasks.clone(),
                metrics: metrics.clone(),
            }),
            state: StateService::new(state::Options {
                identity: identity.clone(),
                policies: policies.clone(),
                metrics: metrics.clone(),
                outbox: Some(outbox.clone()),
            }),
            pubsub,
            outbox,
            crypto: CryptoService::new(crypto::Options {
                policies: policies.clone(),
                metrics: metrics.clone(),
            }),
            bindings: BindingsService::new(bindings::Options {
                identity: identity.clone(),
                policies: policies.clone(),
                tasks,
                options_timeout: options.binding_options_timeout,
                tracer: tracer.clone(),
                metrics: metrics.clone(),
            }),
            conversation: ConversationService::new(conversation::Options {
                policies: policies.clone(),
                metrics: metrics.clone(),
            }),
            configuration: ConfigurationService::new(configuration::Options {
                policies: policies.clone(),
                tasks: stopping,
                metrics: metrics.clone(),
            }),
            lock: LockService::new(lock::Options { identity: identity.clone(), policies: policies.clone() }),
            secrets: SecretsService::new(secrets::Options {
                scopes: config.secrets.scopes.clone(),
                policies: policies.clone(),
                metrics,
            }),
            metadata: MetadataService::new(metadata::Options {
                identity,
                runtime_version: VERSION.to_owned(),
                enabled_features: config.enabled_features().into_iter().map(str::to_owned).collect(),
                app_connection: connection(options),
                resiliencies,
                policies,
            }),
            tracer,
        }
    }

    pub fn api(self, options: &Options, health: Health) -> Api {
        Api {
            identity: options.identity.clone(),
            invoke: self.invoke,
            state: self.state,
            pubsub: self.pubsub,
            bindings: self.bindings,
            secrets: self.secrets,
            configuration: self.configuration,
            conversation: self.conversation,
            crypto: self.crypto,
            lock: self.lock,
            metadata: self.metadata,
            health,
            tracer: self.tracer,
            control: Control::default(),
            proto_messages: http_api::ProtoMessages::default(),
            placement_configured: !options.placement_address.is_empty(),
            scheduler_configured: !options.scheduler_addresses.is_empty(),
        }
    }
}

fn connection(options: &Options) -> AppConnection {
    AppConnection {
        port: options.app.port,
        protocol: options.app.protocol,
        channel_address: options.app.address.clone(),
        max_concurrency: options.app.max_concurrency.and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        health: options.app.health.as_ref().map(|h| AppHealthProperties {
            path: if options.app.protocol.is_grpc() { String::new() } else { h.path.clone() },
            interval: format_duration(h.interval),
            timeout: format_duration(h.timeout),
            threshold: h.threshold,
        }),
    }
}
