use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use dapr_app_channel::AppChannel;
use dapr_components::pubsub::{Error, Feature, MessageHandler, PubSub, PublishRequest, SubscribeRequest};
use dapr_components::ttl::message_ttl;
use dapr_errors::{ApiError, Code, pubsub as errors};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_resiliency::{Direction, Kind, Outcome, Policies, Policy, StatusCode};
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::Tracer;

use super::cloudevent::{self, Publish};
use super::scopes::PubSubConfig;
use super::subscriptions::Manager;

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub policies: Policies,
    pub tasks: TaskGroup,
    /// `--disable-init-endpoints=subscribe`.
    pub skip_programmatic: bool,
    pub metrics: Option<Arc<Catalogue>>,
    pub tracer: Tracer,
}

/// A loaded pub/sub component with the settings around it.
pub(super) struct Loaded {
    pub name: Arc<str>,
    pub component: Arc<dyn PubSub>,
    pub config: PubSubConfig,
    pub outbound: Policy,
    pub inbound: Policy,
    /// Whether the broker expires messages itself.
    pub native_ttl: bool,
}

type Table = HashMap<String, Arc<Loaded>>;

/// Publish and subscribe. Cloning shares it.
#[derive(Clone)]
pub struct PubSubService(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub options: Options,
    pub table: ArcSwap<Table>,
    pub app: ArcSwapOption<AppChannel>,
    pub manager: Manager,
}

/// W3C trace context of a request; empty without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace<'a> {
    pub parent: &'a str,
    pub state: &'a str,
}

/// How a publish reached the sidecar. What the sidecar publishes itself counts
/// as gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Http,
    Grpc,
}

impl Via {
    /// The code that retry policies match a broker's error against: publishes
    /// over HTTP are judged by the list of HTTP codes.
    pub(super) fn status(self, error: &Error) -> Option<StatusCode> {
        let code = error.grpc_code()?;
        Some(match self {
            Self::Http => StatusCode::http(Code::from_i32(code).http_status()),
            Self::Grpc => StatusCode::grpc(code),
        })
    }
}

/// One message that an application publishes.
#[derive(Debug)]
pub struct PublishCall<'a> {
    pub pubsub: &'a str,
    pub topic: &'a str,
    pub content_type: &'a str,
    pub data: Bytes,
    pub metadata: HashMap<String, String>,
    pub trace: Trace<'a>,
    /// A raw message that came over gRPC carries the trace in its metadata.
    pub via: Via,
}

/// A dead letter has this long to be published, whatever its message had.
const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(30);

/// A publish that failed at the broker.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: Error,
    pub via: Via,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl Outcome for Failed {
    fn retriable(&self) -> bool {
        self.error != Error::Closed
    }

    fn status(&self) -> Option<StatusCode> {
        self.via.status(&self.error)
    }
}

impl PubSubService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            table: ArcSwap::default(),
            app: ArcSwapOption::empty(),
            manager: Manager::default(),
        }))
    }

    /// Adds or replaces a component.
    pub fn add(&self, name: &str, component: Arc<dyn PubSub>, config: PubSubConfig) {
        self.insert(self.build(name, component, config));
    }

    pub(super) fn build(&self, name: &str, component: Arc<dyn PubSub>, config: PubSubConfig) -> Arc<Loaded> {
        let policies = &self.0.options.policies;
        Arc::new(Loaded {
            name: name.into(),
            native_ttl: component.features().contains(&Feature::MessageTtl),
            component,
            config,
            outbound: policies.component(name, Kind::Pubsub, Direction::Outbound),
            inbound: policies.component(name, Kind::Pubsub, Direction::Inbound),
        })
    }

    pub(super) fn insert(&self, loaded: Arc<Loaded>) {
        self.0.table.rcu(|table| {
            let mut next = Table::clone(table);
            next.insert(loaded.name.to_string(), loaded.clone());
            next
        });
    }

    /// Takes a component away; its subscriptions must have been stopped with
    /// [`Self::suspend_component`].
    pub fn remove(&self, name: &str) -> Option<Arc<dyn PubSub>> {
        let removed = self.0.table.load().get(name).map(|l| l.component.clone());
        self.0.table.rcu(|table| {
            let mut next = Table::clone(table);
            next.remove(name);
            next
        });
        removed
    }

    pub fn set_app_channel(&self, channel: Option<AppChannel>) {
        self.0.app.store(channel.map(Arc::new));
    }

    pub(super) fn loaded(&self, name: &str) -> Option<Arc<Loaded>> {
        self.0.table.load().get(name).cloned()
    }

    /// The component and the checks that every publish begins with.
    pub(super) fn target(&self, name: &str, topic: &str) -> Result<Arc<Loaded>, ApiError> {
        let table = self.0.table.load();
        if name.is_empty() {
            return Err(errors::name_empty());
        }
        let loaded = table.get(name).cloned().ok_or_else(|| errors::not_found(name))?;
        if topic.is_empty() {
            return Err(errors::topic_empty(name));
        }
        Ok(loaded)
    }

    /// Publishes one message: wrapped in a CloudEvent unless metadata asks for
    /// the raw payload. Returns once the broker has it.
    pub async fn publish(&self, call: PublishCall<'_>) -> Result<(), ApiError> {
        let loaded = self.target(call.pubsub, call.topic)?;
        let raw = raw_payload(&call.metadata).map_err(|value| errors::bad_metadata(call.pubsub, &value))?;
        let app_id = self.0.options.identity.app_id();
        let mut metadata = call.metadata;
        let data = if raw {
            call.data
        } else {
            let envelope = Publish {
                source: app_id,
                topic: call.topic,
                pubsub: call.pubsub,
                content_type: call.content_type,
                data: &call.data,
                trace_parent: call.trace.parent,
                trace_state: call.trace.state,
                ttl: ttl_of(&loaded, &metadata),
            };
            cloudevent::wrap(&envelope, &metadata)
                .map_err(|e| errors::cloud_event_creation(call.pubsub, app_id, e))?
        };
        if raw && call.via == Via::Grpc {
            metadata.insert("traceid".to_owned(), call.trace.parent.to_owned());
            metadata.insert("tracestate".to_owned(), call.trace.state.to_owned());
        }
        let started = self.metrics().map(|metrics| (metrics, Instant::now()));
        let outcome = self.send(&loaded, call.topic, data, metadata, call.via).await;
        if let Some((metrics, started)) = started {
            metrics.egress(call.pubsub, call.topic, outcome.is_ok(), started.elapsed());
        }
        outcome
    }

    async fn send(
        &self,
        loaded: &Loaded,
        topic: &str,
        data: Bytes,
        metadata: HashMap<String, String>,
        via: Via,
    ) -> Result<(), ApiError> {
        if !loaded.config.publish.allows(topic) {
            return Err(errors::forbidden(&loaded.name, topic, self.0.options.identity.app_id()));
        }
        let request =
            PublishRequest { topic: self.broker_topic(loaded, topic), data, metadata, content_type: None };
        publish_under(loaded, request, via).await.map_err(|e| errors::publish_failed(&loaded.name, topic, e))
    }

    /// Publishes an event that is complete already.
    pub(crate) async fn publish_event(
        &self,
        pubsub: &str,
        topic: &str,
        data: Bytes,
        content_type: Option<String>,
    ) -> Result<(), String> {
        let loaded = self.loaded(pubsub).ok_or_else(|| errors::vanished(pubsub, topic).message)?;
        if !loaded.config.publish.allows(topic) {
            return Err(errors::forbidden(pubsub, topic, self.0.options.identity.app_id()).message);
        }
        let topic = self.broker_topic(&loaded, topic);
        let request = PublishRequest { topic, data, metadata: HashMap::new(), content_type };
        publish_under(&loaded, request, Via::Grpc).await
    }

    /// Subscribes on behalf of the runtime itself.
    pub(crate) async fn subscribe_internal(
        &self,
        pubsub: &str,
        topic: &str,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), String> {
        let loaded = self.loaded(pubsub).ok_or_else(|| format!("pubsub {pubsub} not loaded"))?;
        let request = SubscribeRequest { topic: self.broker_topic(&loaded, topic), metadata: HashMap::new() };
        loaded.component.subscribe(request, stop, handler).await.map_err(|e| e.to_string())
    }

    /// The topic as the broker knows it.
    pub(super) fn broker_topic(&self, loaded: &Loaded, topic: &str) -> String {
        if loaded.config.namespace_scoped {
            format!("{}{topic}", self.0.options.identity.namespace())
        } else {
            topic.to_owned()
        }
    }

    /// Publishes to a dead-letter topic; `Err` when that failed.
    pub(super) async fn dead_letter(
        &self,
        loaded: &Loaded,
        topic: &str,
        origin: &str,
        mut request: PublishRequest,
    ) -> Result<(), ()> {
        if !loaded.config.publish.allows(topic) {
            let app_id = self.0.options.identity.app_id();
            tracing::error!(
                target: "dapr.runtime.pubsub",
                "error sending message to dead letter, origin topic: {origin} dead letter topic {topic} err: topic {topic} is not allowed for app id {app_id}"
            );
            return Err(());
        }
        request.topic = self.broker_topic(loaded, topic);
        let published = tokio::time::timeout(DEAD_LETTER_TIMEOUT, publish_under(loaded, request, Via::Grpc));
        let failed = match published.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => "context deadline exceeded".to_owned(),
        };
        tracing::error!(
            target: "dapr.runtime.pubsub",
            "error sending message to dead letter, origin topic: {origin} dead letter topic {topic} err: {failed}"
        );
        Err(())
    }
}

/// Publishes under the component's outbound policy.
pub(super) async fn publish_under(loaded: &Loaded, request: PublishRequest, via: Via) -> Result<(), String> {
    if loaded.outbound.is_none() {
        return loaded.component.publish(request).await.map_err(|e| e.to_string());
    }
    let run = loaded.outbound.run(|_| {
        let request = request.clone();
        async { loaded.component.publish(request).await.map_err(|error| Failed { error, via }) }
    });
    run.await.map_err(|e| e.to_string())
}

/// The TTL that the envelope must carry because the broker does not.
pub(super) fn ttl_of(loaded: &Loaded, metadata: &HashMap<String, String>) -> Option<Duration> {
    if loaded.native_ttl || metadata.is_empty() {
        return None;
    }
    message_ttl(metadata).ok().flatten()
}

/// `rawPayload` of a request; `Err` holds the value that is no boolean.
pub(super) fn raw_payload(metadata: &HashMap<String, String>) -> Result<bool, String> {
    let Some((_, value)) = metadata.iter().find(|(k, _)| k.eq_ignore_ascii_case("rawPayload")) else {
        return Ok(false);
    };
    if value.is_empty() {
        return Ok(false);
    }
    dapr_gocompat::bools::parse_bool(value).map_err(|_| value.clone())
}
