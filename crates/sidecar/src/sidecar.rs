use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapr_app_channel::health::AppHealth;
use dapr_app_channel::{AppChannel, discovery};
use dapr_components::middleware::Middlewares;
use dapr_components::nameresolution::{Instance, NameResolver, ResolverContext};
use dapr_components::registry::Registry as Components;
use dapr_gateway::{Api, ApiAccess, grpc, http as http_api};
use dapr_kernel::Shutdown;
use dapr_kernel::health::{Health, Target};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::workers::Workers;
use dapr_resources::Component;
use dapr_resources::configuration::{Configuration, Feature};
use dapr_resources::template::TemplateContext;
use dapr_security::Security;
use dapr_transport::listen::Listener;

use crate::options::Options;
use crate::processor::{Inventory, Processor};
use crate::reload::{self, Declared, Demand, Reloader};
use crate::services::{Services, Surroundings};
use crate::sockets::Sockets;
use crate::source::{Changes, Source};
use crate::telemetry::Telemetry;
use crate::trace_export::Tracing;
use crate::{access_control, app, drain, endpoints, host, identity, policies, servers, unserved};

const SCOPE: &str = "dapr.runtime";
/// Beyond the grace period: for ends that nobody else limits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time after readiness in which the start's last work and the first requests
/// come; then memory that only the start needed is given back.
const SETTLING: Duration = Duration::from_secs(2);

/// How a sidecar ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Graceful,
    /// Ended in order to be started again in this process.
    Restart,
    /// An immediate end with exit code 1 was asked for.
    Forced,
    Failed(String),
}

/// One sidecar: a value without global state.
pub struct Sidecar {
    options: Options,
    registry: Components,
    workers: Option<Workers>,
    sockets: Sockets,
}

/// Everything that lives as long as one run.
struct Run {
    options: Options,
    config: Configuration,
    source: Source,
    tasks: TaskGroup,
    health: Health,
    ready: Target,
    api: Arc<Api>,
    app_health: AppHealth,
    processor: Processor,
    internal: Option<(Listener, u16)>,
    host: IpAddr,
    telemetry: Telemetry,
    security: Security,
    tracing: Tracing,
    sockets: Sockets,
    /// Absent when hot reload is off.
    reloader: Option<Reloader>,
    declared: Declared,
}

impl Sidecar {
    pub fn build(options: Options, registry: Components) -> Self {
        Self { options, registry, workers: None, sockets: Sockets::default() }
    }

    /// Spreads connections over `workers`; otherwise all are on the caller's
    /// runtime.
    #[must_use]
    pub fn on(mut self, workers: Workers) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Takes over the listening sockets of the sidecar before.
    #[must_use]
    pub fn with(mut self, sockets: Sockets) -> Self {
        self.sockets = sockets;
        self
    }

    /// Runs until `stop` is given, the API asks for the end, or something
    /// fatal happens.
    pub async fn run(self, stop: Shutdown) -> Exit {
        let started = Instant::now();
        let mut tasks = TaskGroup::new(Shutdown::new());
        if let Some(workers) = self.workers {
            tasks = tasks.with_workers(workers);
        }
        // With mTLS this waits for the certificate authority, in a cluster for
        // the operator.
        let prepare = Box::pin(Run::prepare(self.options, self.registry, self.sockets, tasks.clone()));
        let prepared = stop.guard(prepare).await;
        let run = match prepared {
            Some(Ok(run)) => Box::new(run),
            None => {
                tasks.stop(Duration::from_secs(1)).await;
                return Exit::Graceful;
            }
            Some(Err(error)) => {
                tasks.stop(Duration::from_secs(1)).await;
                return Exit::Failed(error);
            }
        };
        Box::pin(run.live(stop, started)).await
    }
}

impl Run {
    /// Builds the services; nothing is started but the reserved port.
    async fn prepare(
        options: Options,
        registry: Components,
        sockets: Sockets,
        tasks: TaskGroup,
    ) -> Result<Self, String> {
        sockets.handed_over();
        let observed = identity::Observed::default();
        let security = identity::obtain(&options, &observed, &tasks).await?;
        let mut source = Source::open(&options, &security, &tasks).await?;
        let config = source.configuration().await?;
        tracing::info!(target: SCOPE, "{} mode configured", options.mode.name());
        tracing::info!(target: SCOPE, "app id: {}", options.identity.app_id());
        let identity = options.identity.clone();
        let health = Health::new();
        let ready = health.add_target("runtime");
        for target in ["grpc-api-server", "grpc-internal-server"] {
            health.add_target(target);
        }
        let telemetry = Telemetry::new(&options, &config);
        let metrics = telemetry.catalogue.clone();
        observed.report_to(metrics.clone());
        let access =
            access_control::guard(config.access_control.as_ref(), options.app.protocol, metrics.clone())?;
        let (policies, resiliencies) = policies::build(&source.resiliencies().await, metrics.clone());
        let internal = match servers::reserve_internal(&options, &sockets).await {
            Ok(reserved) => reserved,
            Err(error) => {
                return Err(format!(
                    "failed to start internal gRPC server: could not listen on any endpoint: {error}"
                ));
            }
        };
        let host = host::address(options.host_ip.as_deref()).ok_or("failed to determine host IP")?;
        let exported = telemetry.registry.as_ref();
        let tracing = Tracing::start(&config.tracing, &options.otel, identity.app_id(), exported)?;
        let plan = Surroundings {
            policies,
            resiliencies,
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            security: security.clone(),
            access,
            tracer: tracing.tracer.clone(),
        };
        let services = Services::new(&options, &config, host, internal.1, plan);
        let outbox = services.outbox.clone();
        let api = Arc::new(services.api(&options, health.clone()));
        let templates = TemplateContext {
            app_id: identity.app_id().to_owned(),
            namespace: identity.namespace().to_owned(),
            pod_name: options.pod_name.clone(),
            strict_sandbox: config.wasm.strict_sandbox,
        };
        let processor = Processor {
            registry,
            identity,
            templates,
            secret_refs: source.secret_refs(),
            state: api.state.clone(),
            pubsub: api.pubsub.clone(),
            bindings: api.bindings.clone(),
            secrets: api.secrets.clone(),
            configuration: api.configuration.clone(),
            conversation: api.conversation.clone(),
            crypto: api.crypto.clone(),
            lock: api.lock.clone(),
            outbox,
            metadata: api.metadata.clone(),
            middleware: Middlewares::default(),
            tasks: tasks.clone(),
            metrics,
            inventory: Inventory::default(),
        };
        Ok(Self {
            options,
            config,
            source,
            tasks,
            health,
            ready,
            api,
            app_health: AppHealth::new(),
            processor,
            internal: Some(internal),
            host,
            telemetry,
            tracing,
            security,
            sockets,
            reloader: None,
            declared: Declared::default(),
        })
    }

    async fn live(mut self: Box<Self>, stop: Shutdown, started: Instant) -> Exit {
        let initialised = tokio::select! {
            biased;
            () = stop.wait() => Ok(false),
            result = self.initialise() => result.map(|()| true),
        };
        match initialised {
            Err(error) => {
                self.shut_down().await;
                return Exit::Failed(error);
            }
            Ok(false) => {
                self.shut_down().await;
                return Exit::Graceful;
            }
            Ok(true) => {}
        }
        let (reloader, declared) = (self.reloader.take(), std::mem::take(&mut self.declared));
        let reload = reload::run(reloader, &self.config, &self.processor, declared);
        let exit = tokio::select! {
            () = stop.wait() => Exit::Graceful,
            () = self.api.control.force_requested() => Exit::Forced,
            () = self.api.control.shutdown_requested() => Exit::Graceful,
            () = self.wait_for_app(started) => Exit::Graceful,
            demand = reload => match demand {
                Demand::Restart => {
                    self.sockets.keep_for_next();
                    Exit::Restart
                }
                Demand::Fail(error) => Exit::Failed(error),
            },
        };
        if exit == Exit::Forced {
            return exit;
        }
        self.end(exit).await
    }

    /// Waits for the application, declares the sidecar running and then
    /// waits for ever.
    async fn wait_for_app(&self, started: Instant) {
        let channel = self.api.invoke.app_channel();
        if let Some(channel) = &channel {
            discovery::wait_for_app(channel.options()).await;
        }
        app::watch_health(&self.options, channel.as_ref(), &self.app_health, &self.tasks);
        app::Follower {
            identity: self.options.identity.clone(),
            channel,
            pubsub: self.api.pubsub.clone(),
            bindings: self.api.bindings.clone(),
            outbox: self.processor.outbox.clone(),
            state: self.api.state.clone(),
            skip_config: self.options.disabled_endpoints.config,
        }
        .start(&self.app_health, &self.tasks)
        .await;
        let elapsed = started.elapsed().as_millis();
        tracing::info!(target: SCOPE, "dapr initialized. Status: Running. Init Elapsed {elapsed}ms");
        self.ready.ready();
        tokio::time::sleep(SETTLING).await;
        dapr_footprint::release_start();
        std::future::pending::<()>().await;
    }

    /// The strictly ordered part of the start (runtime.md §2.1).
    async fn initialise(&mut self) -> Result<(), String> {
        self.start_metrics().await?;
        if self.options.placement_address.is_empty() {
            tracing::info!(target: SCOPE, "Actor runtime disabled");
        } else {
            tracing::warn!(
                target: SCOPE,
                "A placement address was given, but this release has no actor runtime: actor calls are refused"
            );
        }
        if self.options.scheduler_addresses.is_empty() {
            tracing::info!(target: SCOPE, "Scheduler disabled");
        } else {
            tracing::warn!(
                target: SCOPE,
                "A scheduler address was given, but this release does not talk to the scheduler: job calls are refused"
            );
        }
        self.start_name_resolution().await;
        let sockets = &self.options.components_sockets_folder;
        if let Err(error) = dapr_pluggable::discover(sockets, &mut self.processor.registry).await {
            tracing::error!(target: SCOPE, "could not initialize pluggable components {error}");
        }
        let changes = self.watch_resources();
        self.api.invoke.set_app_pipeline(self.processor.pipeline("app", &self.config.app_http_pipeline));
        self.load_components().await?;
        let changes = changes?;
        unserved::warn_of_resources(&self.source).await;
        let endpoints = endpoints::load(&mut self.source, &self.api.secrets).await;
        self.reloader = changes.map(|changes| Reloader { changes, built: self.source.built() });
        self.api.metadata.set_http_endpoints(endpoints.iter().map(|e| e.name.clone()).collect());
        self.api.invoke.set_http_endpoints(endpoints);
        self.load_subscriptions().await?;
        let channel = self.app_channel();
        self.set_app_channel(channel);
        for store in self.api.secrets.unmatched_scopes() {
            tracing::warn!(
                target: SCOPE,
                "Secrets configuration added for '{store}', but no matching secret store was found"
            );
        }
        self.start_servers().await?;
        self.api.control.set_outbound_ready(true);
        Ok(())
    }

    async fn start_metrics(&self) -> Result<(), String> {
        let target = self.health.add_target("metrics-exporter");
        if let (Some((address, port)), Some(registry)) =
            (&self.options.listen.metrics, &self.telemetry.registry)
        {
            servers::start_metrics(address, *port, registry.clone(), &self.sockets, &self.tasks).await?;
        }
        target.ready();
        Ok(())
    }

    fn app_channel(&self) -> Option<AppChannel> {
        let pipeline = self.api.invoke.app_pipeline();
        let metrics = self.telemetry.catalogue.clone();
        let zero_trace = !self.api.tracer.is_off();
        app::channel(&self.options, &self.app_health, metrics, pipeline, zero_trace, &self.tasks)
    }

    fn set_app_channel(&self, channel: Option<AppChannel>) {
        self.api.invoke.set_app_channel(channel.clone());
        self.api.pubsub.set_app_channel(channel.clone());
        self.api.configuration.set_app_channel(channel.clone());
        self.api.bindings.set_app_channel(channel);
    }

    /// A resolver that fails is logged: only invocation needs one.
    async fn start_name_resolution(&self) {
        let settings = self.config.name_resolution.clone().unwrap_or_default();
        let name = if settings.component.is_empty() {
            self.options.mode.default_name_resolver()
        } else {
            settings.component.as_str()
        };
        match self.resolver(name, &settings.version, settings.configuration.clone()).await {
            Ok(resolver) => {
                self.api.invoke.set_resolver(resolver);
                tracing::info!(target: SCOPE, "Initialized name resolution to {name}");
            }
            Err(error) => {
                if let Some(metrics) = &self.telemetry.catalogue {
                    metrics.runtime.component_failed("nameResolution", error.kind(), name);
                }
                tracing::error!(target: SCOPE, "failed to init name resolution: {error}");
            }
        }
    }

    async fn resolver(
        &self,
        name: &str,
        version: &str,
        configuration: serde_json::Value,
    ) -> Result<Arc<dyn NameResolver>, ResolverFailure> {
        let kinds = &self.processor.registry.name_resolvers;
        let shown = if version.is_empty() { "v1" } else { version };
        let constructor = kinds
            .find(&format!("nameresolution.{name}"), version)
            .or_else(|| kinds.find(name, version))
            .ok_or_else(|| {
                ResolverFailure::Creation(format!("couldn't find name resolver {name}/{shown}"))
            })?;
        let listen = &self.options.listen;
        let context = ResolverContext {
            configuration,
            instance: Instance {
                identity: self.options.identity.clone(),
                address: host::advertised(&listen.internal_address, self.host),
                http_port: listen.http_port,
                internal_grpc_port: self.internal.as_ref().map_or(0, |(_, port)| *port),
                app_port: self.options.app.port,
            },
            tasks: self.tasks.clone(),
        };
        constructor(context).await.map_err(|e| ResolverFailure::Init(e.to_string()))
    }

    async fn load_components(&self) -> Result<(), String> {
        tracing::info!(target: SCOPE, "Loading components…");
        let loaded =
            self.source.load::<Component>().await.map_err(|e| format!("failed to load components: {e}"))?;
        for warning in &loaded.warnings {
            tracing::warn!(target: SCOPE, "{warning}");
        }
        let allowed =
            loaded.resources.into_iter().filter(|component| match self.config.components.denial(component) {
                None => true,
                Some(reason) => {
                    tracing::warn!(target: SCOPE, "{reason}");
                    false
                }
            });
        let wanted = self.source.builtin_component().into_iter().chain(allowed).collect();
        tracing::info!(target: SCOPE, "Waiting for all outstanding components to be processed…");
        self.processor.load_all(wanted).await.map_err(|e| e.to_string())?;
        tracing::info!(target: SCOPE, "All outstanding components processed");
        Ok(())
    }

    async fn load_subscriptions(&mut self) -> Result<(), String> {
        tracing::info!(target: SCOPE, "Loading Declarative Subscriptions…");
        let loaded = self
            .source
            .subscriptions()
            .await
            .map_err(|e| format!("failed to load declarative subscriptions: {e}"))?;
        for warning in &loaded.warnings {
            tracing::warn!(target: SCOPE, "{warning}");
        }
        let app_id = self.options.identity.app_id();
        self.declared = Declared::load(app_id, loaded.resources, &self.api.pubsub)?;
        Ok(())
    }

    /// Begins to notice changes, unless hot reload is off.
    fn watch_resources(&mut self) -> Result<Option<Changes>, String> {
        if !self.config.is_feature_enabled(Feature::HotReload) {
            return Ok(None);
        }
        let changes = self.source.watch(self.options.reconcile_interval)?;
        reload::announce(&changes, &self.health, &self.tasks);
        Ok(Some(changes))
    }

    async fn start_servers(&mut self) -> Result<(), String> {
        let access = ApiAccess::new(&self.config.api);
        let logging = &self.config.logging.api_logging;
        let api_log = self.options.api_log.unwrap_or(logging.enabled).then_some(http_api::ApiLog {
            obfuscate_urls: logging.obfuscate_urls,
            omit_health_checks: logging.omit_health_checks,
        });
        let plan = servers::Plan {
            api: self.api.clone(),
            http: http_api::Options {
                identity: self.options.identity.clone(),
                token: self.options.api_token.clone(),
                cors: http_api::Cors::from_flag(&self.options.allowed_origins),
                max_body: self.options.max_body,
                max_header: self.options.max_header,
                access: access.clone(),
                api_log,
                pipeline: self.processor.pipeline("server", &self.config.http_pipeline),
            },
            grpc: grpc::Options {
                token: self.options.api_token.clone(),
                access,
                max_message: self.options.max_body.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
                api_log: api_log.is_some(),
            },
            metrics: self.telemetry.catalogue.clone(),
            sockets: self.sockets.clone(),
        };
        servers::start(&self.options, plan, &self.tasks).await?;
        self.health.add_target("grpc-api-server").ready();
        if let Some((listener, port)) = self.internal.take() {
            let metrics = self.telemetry.catalogue.clone();
            let tls = self.security.server();
            servers::start_internal(
                &self.options,
                listener,
                port,
                self.api.clone(),
                metrics,
                tls,
                &self.tasks,
            );
        }
        self.health.add_target("grpc-internal-server").ready();
        Ok(())
    }

    /// Graceful end: block if asked to, stop intake, drain, close.
    async fn end(&self, exit: Exit) -> Exit {
        if let Some(limit) = self.options.block_shutdown {
            drain::block_shutdown(limit, &self.app_health, &self.api.pubsub, &self.api.bindings).await;
        }
        match self.options.grace {
            None => {
                tracing::warn!(
                    target: SCOPE,
                    "Graceful shutdown timeout is infinite, will wait indefinitely to shutdown"
                );
                self.shut_down().await;
                exit
            }
            Some(limit) => match tokio::time::timeout(limit, self.shut_down()).await {
                Ok(()) => exit,
                Err(_) => {
                    tracing::error!(target: SCOPE, "Graceful shutdown timeout exceeded, forcing shutdown");
                    Exit::Forced
                }
            },
        }
    }

    async fn shut_down(&self) {
        tracing::info!(target: SCOPE, "Dapr is shutting down");
        self.sockets.release();
        self.api.bindings.stop_inputs_for_good().await;
        self.api.pubsub.pause_components().await;
        self.api.pubsub.stop_subscriptions_for_good().await;
        self.api.pubsub.stop_streams().await;
        self.api.configuration.stop();
        self.processor.outbox.stop();
        // Requests in flight still use the components.
        // Whoever limits all of this must be the first to lose patience.
        let limit = self.options.grace.map_or(Duration::MAX, |grace| grace + PATIENCE);
        self.tasks.stop(limit).await;
        let resolver = self.api.invoke.take_resolver();
        let close_resolver = async {
            if let Some(resolver) = resolver {
                resolver.close().await;
            }
        };
        tokio::join!(self.processor.close_all(), close_resolver);
        self.tracing.stop(self.options.grace).await;
        tracing::info!(target: SCOPE, "Dapr runtime stopped");
    }
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
enum ResolverFailure {
    #[error("{0}")]
    Creation(String),
    #[error("{0}")]
    Init(String),
}

impl ResolverFailure {
    /// As metrics name it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Creation(_) => "creation",
            Self::Init(_) => "init",
        }
    }
}
