//! Input bindings: which of them the application wants, and the delivery of
//! their events (api.md §5.7).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_app_channel::{AppChannel, Origin, Status};
use dapr_components::bindings::{EventHandler, InputBinding, InvokeRequest, ReadEvent};
use dapr_errors::Code;
use dapr_gocompat::{json, quote::quote};
use dapr_kernel::Shutdown;
use dapr_resiliency::{Outcome, Policy, PolicyError, StatusCode};
use dapr_telemetry::trace::{Span, SpanKind, TraceContext, propagation};
use dapr_transport::Body;
use dapr_wire::runtime::v1 as rt;
use dapr_wire::runtime::v1::binding_event_response::BindingEventConcurrency;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::service::BindingsService;
use crate::observed::Meter;
use crate::pubsub::Drain;

const SCOPE: &str = "dapr.runtime.processor.binding";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long a stop waits for events in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Time for the outcome of events in flight to reach their source.
const SETTLE: Duration = Duration::from_millis(400);
/// How spans name the callback of gRPC applications.
const ON_BINDING_EVENT: &str = "/dapr.proto.runtime.v1.AppCallback/OnBindingEvent";
/// Output operation that an application's answer asks for.
const CREATE: &str = "create";
/// Headers that belong to the request itself and not to the event.
const OWN_HEADERS: [&str; 5] = ["content-length", "transfer-encoding", "host", "trailer", "connection"];

/// Settings of an input binding component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputConfig {
    /// The component's `direction` names `input`: the application is not asked
    /// whether it wants the events.
    pub declared_input: bool,
    /// Path instead of the component's name.
    pub route: Option<String>,
}

/// A loaded input binding.
pub(super) struct Input {
    name: Arc<str>,
    pub binding: Arc<dyn InputBinding>,
    declared: bool,
    /// Path at the application, without a leading slash.
    path: String,
    policy: Policy,
    meter: Meter,
}

impl Input {
    pub fn new(
        name: &str,
        binding: Arc<dyn InputBinding>,
        config: InputConfig,
        policy: Policy,
        meter: Meter,
    ) -> Self {
        let route = config.route.filter(|r| !r.is_empty());
        let path = route.as_deref().unwrap_or(name).trim_start_matches('/').to_owned();
        Self { name: name.into(), binding, declared: config.declared_input, path, policy, meter }
    }
}

/// Which inputs are being read from.
#[derive(Default)]
pub(super) struct Reading {
    active: BTreeMap<String, Active>,
    /// Whether inputs that come later start at once.
    started: bool,
    /// The sidecar ends: nothing is started any more.
    closed: bool,
    /// What a gRPC application listed; asked for once.
    listed: Option<Vec<String>>,
}

struct Active {
    drain: Arc<Drain>,
    stop: Shutdown,
}

impl BindingsService {
    /// Starts reading from every input that the application wants. A probe or
    /// start that fails is logged and ends the round.
    pub async fn start_inputs(&self) {
        let mut reading = self.0.reading.lock().await;
        if reading.closed {
            return;
        }
        reading.started = true;
        stop_all(std::mem::take(&mut reading.active)).await;
        for input in self.0.inputs.load_full().values() {
            if let Err(error) = self.start(&mut reading, input).await {
                tracing::warn!(target: SCOPE, "failed to read from bindings: {error} ");
                return;
            }
        }
    }

    /// Starts one input that was added while others are being read from; does
    /// nothing before [`Self::start_inputs`].
    pub async fn start_input(&self, name: &str) -> Result<(), String> {
        let mut reading = self.0.reading.lock().await;
        let Some(input) = self.0.inputs.load().get(name).cloned() else { return Ok(()) };
        if !reading.started || reading.active.contains_key(name) {
            return Ok(());
        }
        self.start(&mut reading, &input).await
    }

    /// Stops all inputs: no new events, those in flight finish within 30 s.
    pub async fn stop_inputs(&self) {
        let mut reading = self.0.reading.lock().await;
        reading.started = false;
        stop_all(std::mem::take(&mut reading.active)).await;
    }

    /// Like [`Self::stop_inputs`], and nothing starts them again: the sidecar
    /// ends (runtime.md §2.5).
    pub async fn stop_inputs_for_good(&self) {
        self.0.reading.lock().await.closed = true;
        self.stop_inputs().await;
    }

    /// Stops one input: before its component is removed.
    pub async fn stop_input(&self, name: &str) {
        let mut reading = self.0.reading.lock().await;
        if let Some(active) = reading.active.remove(name) {
            stop(active).await;
        }
    }

    async fn start(&self, reading: &mut Reading, input: &Arc<Input>) -> Result<(), String> {
        let Some(channel) = self.0.app.load_full() else {
            return Err("app channel not initialized".to_owned());
        };
        let name = &input.name;
        if !input.declared && !self.is_wanted(reading, &channel, input).await? {
            tracing::info!(target: SCOPE, "app has not subscribed to binding {name}.");
            return Ok(());
        }
        let active = Active { drain: Arc::default(), stop: self.0.options.tasks.shutdown().child() };
        let handler = Deliverer { service: self.clone(), input: input.clone(), drain: active.drain.clone() };
        input.binding.read(active.stop.clone(), Arc::new(handler)).await.inspect_err(
            |error| tracing::error!(target: SCOPE, "error reading from input binding {name}: {error}"),
        )?;
        reading.active.insert(name.to_string(), active);
        Ok(())
    }

    async fn is_wanted(
        &self,
        reading: &mut Reading,
        channel: &AppChannel,
        input: &Input,
    ) -> Result<bool, String> {
        let limit = self.0.options.options_timeout;
        if let Some(grpc) = channel.grpc() {
            if reading.listed.is_none() {
                let mut request = tonic::Request::new(());
                grpc.authorize(request.metadata_mut());
                let mut client = grpc.callbacks();
                let answer = tokio::time::timeout(limit, client.list_input_bindings(request)).await;
                // An application that cannot list them wants none.
                reading.listed = Some(match answer {
                    Ok(Ok(listed)) => listed.into_inner().bindings,
                    Ok(Err(_)) | Err(_) => Vec::new(),
                });
            }
            return Ok(reading.listed.as_ref().is_some_and(|l| l.iter().any(|n| **n == *input.name)));
        }
        let path = &input.path;
        let probe = channel.invoke(request(path, Method::OPTIONS, HeaderMap::new(), Bytes::new()));
        let failed = match tokio::time::timeout(limit, probe).await {
            Ok(Ok(response)) => {
                let Status::Http(status) = response.status else { return Ok(false) };
                // Reading to the end lets the connection be used again.
                let _ = response.body.collect().await;
                return Ok((200..300).contains(&status) || status == 405);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "context deadline exceeded".to_owned(),
        };
        let path = quote(path);
        Err(format!(
            "could not invoke OPTIONS method on input binding subscription endpoint {path}: {failed}"
        ))
    }
}

async fn stop_all(active: BTreeMap<String, Active>) {
    futures::future::join_all(active.into_values().map(stop)).await;
}

async fn stop(active: Active) {
    let busy = !active.drain.seal_and_wait(Duration::ZERO).await;
    if busy && active.drain.seal_and_wait(DRAIN_LIMIT).await {
        tokio::time::sleep(SETTLE).await;
    }
    active.stop.trigger();
}

fn request(path: &str, verb: Method, headers: HeaderMap, body: Bytes) -> dapr_app_channel::InvokeRequest {
    dapr_app_channel::InvokeRequest {
        method: path.to_owned(),
        verb,
        query: String::new(),
        headers,
        content_type: Some(JSON),
        type_url: String::new(),
        origin: Origin::Http,
        body: Body::from(body),
    }
}

/// Carries the events of one input to the application.
struct Deliverer {
    service: BindingsService,
    input: Arc<Input>,
    drain: Arc<Drain>,
}

#[async_trait]
impl EventHandler for Deliverer {
    async fn handle(&self, event: ReadEvent) -> Result<Option<Bytes>, String> {
        let Some(_in_flight) = self.drain.enter() else { return Err("input binding is closed".to_owned()) };
        let started = self.input.meter.start();
        let delivered = self.deliver(event).await;
        self.input.meter.end(started, delivered.is_ok());
        delivered.inspect_err(|error| {
            tracing::debug!(target: SCOPE, "error from app consumer for binding [{}]: {error}", self.input.name);
        })
    }
}

/// An attempt that the application did not take.
#[derive(Debug)]
enum Refused {
    Http { status: u16, body: Bytes },
    Grpc { code: Code, message: String },
    Channel(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http { status, .. } => {
                write!(f, "error sending binding event to application, status {status}")
            }
            Self::Grpc { code, message } => f.write_str(&dapr_errors::grpc_nested(*code, message)),
            Self::Channel(reason) => f.write_str(reason),
        }
    }
}

impl Outcome for Refused {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Http { status, .. } => Some(StatusCode::http(*status)),
            Self::Grpc { .. } | Self::Channel(_) => None,
        }
    }
}

impl Deliverer {
    async fn deliver(&self, event: ReadEvent) -> Result<Option<Bytes>, String> {
        let Some(channel) = self.service.0.app.load_full() else {
            return Err("error invoking app: app channel is not initialized".to_owned());
        };
        match channel.grpc() {
            Some(_) => self.over_grpc(&channel, event).await,
            None => self.over_http(&channel, event).await,
        }
    }

    /// Only 200 ends the retries; whatever 2xx came last is a success.
    async fn over_http(&self, channel: &AppChannel, event: ReadEvent) -> Result<Option<Bytes>, String> {
        let mut headers = to_headers(&event);
        let mut span = self.span(&event, format_args!("POST /{}", self.input.name));
        span.write_http(&mut headers);
        let attempt = |_| async {
            let sent = request(&self.input.path, Method::POST, headers.clone(), event.data.clone());
            let response = channel.invoke(sent).await.map_err(|e| Refused::Channel(e.to_string()))?;
            let Status::Http(status) = response.status else {
                return Err(Refused::Channel("the application did not answer over HTTP".to_owned()));
            };
            let body = response.body.collect().await.map_err(|e| Refused::Channel(e.to_string()))?;
            if status == 200 { Ok(body) } else { Err(Refused::Http { status, body }) }
        };
        let outcome = self.input.policy.run(attempt).await.inspect_err(|error| judge(&mut span, error));
        drop(span);
        let body = match outcome {
            Ok(body) => body,
            Err(PolicyError::Operation(Refused::Http { status: 200..300, body })) => body,
            Err(PolicyError::Operation(Refused::Http { status, body })) => {
                let body = String::from_utf8_lossy(&body);
                return Err(format!(
                    "fails to send binding event to http app channel, status code: {status} body: {body}"
                ));
            }
            Err(error) => return Err(format!("error invoking app: {error}")),
        };
        Ok(Some(body))
    }

    async fn over_grpc(&self, channel: &AppChannel, event: ReadEvent) -> Result<Option<Bytes>, String> {
        let Some(grpc) = channel.grpc() else {
            return Err("error invoking app: no gRPC application".to_owned());
        };
        let mut headers = HeaderMap::new();
        let mut span = self.span(&event, format_args!("{ON_BINDING_EVENT}"));
        if let Some(context) = span.context().cloned().or_else(|| parent(&event.metadata)) {
            propagation::write_http(&context, &mut headers);
        }
        let message = rt::BindingEventRequest {
            name: self.input.name.to_string(),
            data: event.data,
            metadata: event.metadata,
        };
        let attempt = |_| {
            let mut request = tonic::Request::new(message.clone());
            *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers.clone());
            grpc.authorize(request.metadata_mut());
            async {
                grpc.callbacks().on_binding_event(request).await.map_err(|status| Refused::Grpc {
                    code: Code::from_i32(status.code() as i32),
                    message: status.message().to_owned(),
                })
            }
        };
        let answer = self.input.policy.run(attempt).await.inspect_err(|error| judge(&mut span, error));
        drop(span);
        let answer = answer.map_err(|e| format!("error invoking app: {e}"))?;
        let answer = answer.into_inner();
        let body = (!answer.data.is_empty()).then(|| answer.data.clone());
        if !answer.to.is_empty() {
            self.pass_on(answer).await;
        }
        Ok(body)
    }

    /// The span of one event, below the trace that its metadata names.
    fn span(&self, event: &ReadEvent, address: std::fmt::Arguments<'_>) -> Span {
        let tracer = &self.service.0.options.tracer;
        if !tracer.is_active() {
            return Span::none();
        }
        let name = &*self.input.name;
        let parent = parent(&event.metadata);
        let mut span = tracer.start(SpanKind::Client, parent.as_ref(), || format!("bindings/{name}"));
        if span.is_recording() {
            span.set("db.name", name);
            span.set("rpc.service", "Dapr");
            span.set("db.system", "bindings");
            span.set("db.connection_string", address.to_string());
        }
        span
    }

    /// Calls the output bindings that the application's answer names.
    async fn pass_on(&self, answer: rt::BindingEventResponse) {
        let parallel = answer.concurrency() == BindingEventConcurrency::Parallel;
        // What is not JSON travels as null.
        let data = json::decode_whole(&answer.data).unwrap_or_default();
        let request = InvokeRequest {
            data: Bytes::from(json::to_go_json(&data)),
            operation: CREATE.to_owned(),
            ..Default::default()
        };
        for name in answer.to {
            let (service, request) = (self.service.clone(), request.clone());
            if parallel {
                let in_flight = self.drain.enter();
                self.service.0.options.tasks.spawn("binding response", async move {
                    let _in_flight = in_flight;
                    if let Err(error) = service.call(&name, request).await {
                        tracing::error!(target: SCOPE, "{error}");
                    }
                });
            } else if let Err(error) = service.call(&name, request).await {
                tracing::error!(target: SCOPE, "error executing app response: {error}");
                return;
            }
        }
    }
}

/// The trace that an event's metadata names; the binary form is raw bytes here.
fn parent(metadata: &HashMap<String, String>) -> Option<TraceContext> {
    match metadata.get("grpc-trace-bin") {
        Some(bytes) => TraceContext::from_binary(bytes.as_bytes()),
        None => metadata.get("traceparent").and_then(|text| TraceContext::parse_traceparent(text)),
    }
}

fn judge(span: &mut Span, error: &PolicyError<Refused>) {
    match error {
        PolicyError::Operation(Refused::Http { status, .. }) => span.http_status(*status),
        PolicyError::Operation(Refused::Grpc { message, .. }) => span.fail(message.as_str()),
        other => span.fail(other.to_string()),
    }
}

/// Binding metadata as headers; what cannot be a header is left out.
fn to_headers(event: &ReadEvent) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(event.metadata.len());
    for (key, value) in &event.metadata {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(key.as_str()), HeaderValue::try_from(value.as_str()))
            && !OWN_HEADERS.contains(&name.as_str())
        {
            headers.insert(name, value);
        }
    }
    headers
}
