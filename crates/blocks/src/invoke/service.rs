use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use dapr_app_channel::{
    AppChannel, ChannelError, InvokeRequest, InvokeResponse, Origin, Status as AppStatus,
};
use dapr_components::middleware::Pipeline;
use dapr_components::nameresolution::{NameResolver, ResolveRequest};
use dapr_errors::Code;
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;
use dapr_resiliency::{Builtin, Policies, Policy, PolicyError};
use dapr_resources::HttpEndpoint;
use dapr_security::Security;
use dapr_telemetry::metrics::catalogue::{Catalogue, MessageKind};
use dapr_telemetry::trace::{TRACEPARENT, TraceContext, propagation};
use dapr_transport::Body;
use dapr_transport::client::{H2Channel, H2Options};
use dapr_transport::connect::Destination;
use http::{HeaderMap, HeaderValue};
use indexmap::{Equivalent, IndexMap};
use parking_lot::RwLock;

use super::access::AccessGuard;
use super::external::{Endpoint, External};
use super::headers::Spelling;
use super::peer::{self, PeerError};
use super::target::AppAddress;
use super::tries::{Attempt, Failure, Head, Template, failure, judge, whole};
use super::wire::{Metadata, RequestHead};

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    /// Address that callees are told a call came from.
    pub host_address: String,
    pub hostname: String,
    /// Our own internal gRPC port: some resolvers answer with it.
    pub internal_port: u16,
    /// Largest message between sidecars in bytes; 0 for none.
    pub max_message: usize,
    /// Largest header list between sidecars in bytes.
    pub max_header_list: u32,
    /// Calls at once to each external service (`--app-max-concurrency`);
    /// `None` for no limit.
    pub max_concurrency: Option<usize>,
    pub policies: Policies,
    /// How peers are reached; without, or with mTLS off, in the clear.
    pub security: Option<Security>,
    /// Who may call our application; `None` when anyone may.
    pub access: Option<Arc<AccessGuard>>,
    pub tasks: TaskGroup,
    pub metrics: Option<Arc<Catalogue>>,
}

/// Why an invocation got no answer from the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvokeError {
    pub code: Code,
    /// In the form that the API quotes.
    pub message: String,
}

impl InvokeError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn status(code: Code, message: &str) -> Self {
        Self { code, message: dapr_errors::grpc_nested(code, message) }
    }
}

/// A request with a body of up to this size is read first, so that it can be
/// sent again and travels as one message.
const REPLAY_LIMIT: u64 = 64 * 1024;
/// How much of a body that nobody read is taken from the caller.
const UNREAD_LIMIT: u64 = 256 * 1024;
/// How long resolved addresses are used without asking again.
const MULTI_ADDRESS_TTL: Duration = Duration::from_secs(20);
const SINGLE_ADDRESS_TTL: Duration = Duration::from_secs(1);
/// Further questions while a resolver answers with nothing.
const EMPTY_ANSWER_TRIES: u32 = 5;
const EMPTY_ANSWER_PAUSE: Duration = Duration::from_millis(100);
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to peers kept; more evict those nobody uses.
const MAX_PEERS: usize = 4096;

/// Service invocation. Cloning shares it.
#[derive(Clone)]
pub struct InvokeService(Arc<Inner>);

struct Inner {
    options: Options,
    resolver: ArcSwapOption<Box<dyn AsResolver>>,
    app: ArcSwapOption<AppChannel>,
    peers: RwLock<HashMap<Arc<str>, Peer>>,
    /// By id and namespace.
    addresses: RwLock<IndexMap<(String, String), Resolved>>,
    forwarded: Forwarded,
    external: External,
}

/// Lets an `Arc<dyn NameResolver>` sit in an `ArcSwapOption`.
trait AsResolver: Send + Sync {
    fn get(&self) -> &Arc<dyn NameResolver>;
}

impl AsResolver for Arc<dyn NameResolver> {
    fn get(&self) -> &Arc<dyn NameResolver> {
        self
    }
}

/// The connections to one address.
struct Peer {
    channel: H2Channel,
    /// With mTLS, the namespace and app id that it was proved to be. Another
    /// application may get the address later.
    proved: Option<(Box<str>, Box<str>)>,
}

impl Peer {
    fn is(&self, namespace: &str, id: &str) -> bool {
        self.proved.as_ref().is_none_or(|(n, i)| **n == *namespace && **i == *id)
    }
}

#[derive(Clone)]
struct Resolved {
    addresses: Arc<[Arc<str>]>,
    until: Instant,
}

impl Resolved {
    /// One of the addresses, unless they are too old.
    fn current(&self) -> Option<Arc<str>> {
        (self.until > Instant::now()).then(|| pick(&self.addresses))
    }
}

/// Id and namespace as a key of [`Inner::addresses`] that needs no copies.
#[derive(Hash)]
struct AppKey<'a>(&'a str, &'a str);

impl Equivalent<(String, String)> for AppKey<'_> {
    fn equivalent(&self, (id, namespace): &(String, String)) -> bool {
        self.0 == id && self.1 == namespace
    }
}

/// The header values that every remote call carries, made once.
struct Forwarded {
    address: String,
    hostname: String,
    element: String,
}

impl InvokeService {
    pub fn new(options: Options) -> Self {
        let node = if options.host_address.contains(':') {
            format!("\"[{}]\"", options.host_address)
        } else {
            options.host_address.clone()
        };
        let forwarded = Forwarded {
            element: format!("for={node};by={node};host={}", options.hostname),
            address: options.host_address.clone(),
            hostname: options.hostname.clone(),
        };
        let external = External::new(options.max_concurrency, options.tasks.clone());
        Self(Arc::new(Inner {
            options,
            external,
            resolver: ArcSwapOption::empty(),
            app: ArcSwapOption::empty(),
            peers: RwLock::default(),
            addresses: RwLock::default(),
            forwarded,
        }))
    }

    pub fn set_resolver(&self, resolver: Arc<dyn NameResolver>) {
        self.0.resolver.store(Some(Arc::new(Box::new(resolver))));
    }

    /// Takes the resolver away, to be closed.
    pub fn take_resolver(&self) -> Option<Arc<dyn NameResolver>> {
        self.0.resolver.swap(None).map(|r| r.get().clone())
    }

    pub fn set_app_channel(&self, channel: Option<AppChannel>) {
        self.0.app.store(channel.map(Arc::new));
    }

    pub fn app_channel(&self) -> Option<AppChannel> {
        self.0.app.load().as_deref().cloned()
    }

    /// Who may call our application; `None` when anyone may.
    pub fn access(&self) -> Option<&AccessGuard> {
        self.0.options.access.as_deref()
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.0.options.policies
    }

    /// Largest message in bytes; 0 for none.
    pub(super) fn max_message(&self) -> usize {
        self.0.options.max_message
    }

    pub(super) fn metrics(&self) -> Option<&Catalogue> {
        self.0.options.metrics.as_deref()
    }

    pub fn identity(&self) -> &AppIdentity {
        &self.0.options.identity
    }

    /// The pipeline of the application, which also stands before external
    /// services.
    pub fn set_app_pipeline(&self, pipeline: Pipeline) {
        self.0.external.set_pipeline(pipeline);
    }

    /// What was set, an empty one otherwise.
    pub fn app_pipeline(&self) -> Pipeline {
        self.0.external.pipeline()
    }

    /// Replaces the external services that can be called by name.
    pub fn set_http_endpoints(&self, endpoints: Vec<HttpEndpoint>) {
        self.0.external.set_endpoints(endpoints);
    }

    /// Calls `request` on `target`: an app id, `id.namespace`, the name of an
    /// HTTPEndpoint or a URL. The method is normalised already.
    pub fn invoke(
        &self,
        target: Arc<str>,
        request: InvokeRequest,
    ) -> impl Future<Output = Result<InvokeResponse, InvokeError>> + Send + use<> {
        let service = self.clone();
        let policies = &self.0.options.policies;
        let external = target.starts_with("http://") || target.starts_with("https://");
        let policy = if external || self.0.external.is_named(&target) {
            policies.http_endpoint(&target, &request.method)
        } else {
            policies.app_method(&target, &request.method)
        };
        // No async fn, and the body taken where it is: the future holds both
        // once.
        let (mut template, mut body) = Template::of(request);
        async move {
            if policy.is_none() {
                let body = std::mem::take(&mut body);
                return service.invoke_once(&target, Head::Only(&mut template), body).await;
            }
            service.invoke_under(&policy, &target, &template, &mut body).await
        }
    }

    /// Answers outside 200..=399 are failures to the policy. What cannot be
    /// sent twice is not tried twice.
    async fn invoke_under(
        &self,
        policy: &Policy,
        target: &str,
        template: &Template,
        body: &mut Body,
    ) -> Result<InvokeResponse, InvokeError> {
        let streaming = body.length().is_none();
        let replay =
            if streaming || !policy.has_retries() { None } else { Some(whole(std::mem::take(body)).await?) };
        let outcome = policy
            .run_in_place(|_| {
                let body = match &replay {
                    Some(data) => Body::from(data.clone()),
                    None => std::mem::take(body),
                };
                async move {
                    let answer = self.invoke_once(target, Head::Again(template), body).await;
                    match judge(answer) {
                        Ok(answer) => Ok(answer),
                        // Boxed: most calls succeed.
                        Err(failed) => Err(Box::pin(failure(failed, streaming)).await),
                    }
                }
            })
            .await;
        // An open breaker never looked at the body, but the caller sends it.
        if !http_body::Body::is_end_stream(body) {
            Box::pin(std::mem::take(body).drain(UNREAD_LIMIT)).await;
        }
        match outcome {
            Ok(answer) => Ok(answer),
            Err(PolicyError::Operation(Failure { answer: Ok(answer), .. })) => Ok(*answer),
            Err(PolicyError::Operation(Failure { answer: Err(error), .. })) => Err(error),
            Err(other) => Err(InvokeError::new(Code::Internal, other.to_string())),
        }
    }

    async fn invoke_once(
        &self,
        target: &str,
        head: Head<'_>,
        body: Body,
    ) -> Result<InvokeResponse, InvokeError> {
        let own = self.identity();
        // Boxed are the ways that lead elsewhere than to another sidecar: these
        // calls take more room, and have no second box within.
        if let Some(endpoint) = self.0.external.named(target) {
            let endpoint = endpoint.map_err(|e| InvokeError::new(Code::Internal, e))?;
            return Box::pin(self.call_external(target, endpoint, head.request(body))).await;
        }
        match AppAddress::parse(target, own.namespace()) {
            Err(error) => Err(InvokeError::new(Code::InvalidArgument, error.to_string())),
            Ok(AppAddress::Url(url)) => {
                let endpoint = self.0.external.url(url).map_err(|e| InvokeError::new(Code::Internal, e))?;
                Box::pin(self.call_external(target, endpoint, head.request(body))).await
            }
            Ok(AppAddress::App { id, namespace }) if id == own.app_id() && namespace == own.namespace() => {
                Box::pin(self.invoke_local(head.request(body))).await
            }
            Ok(AppAddress::App { id, namespace }) => {
                self.invoke_remote(id, namespace, head.template(), body).await
            }
        }
    }

    /// Counts a call that leaves this sidecar; `None` without metrics.
    fn sending(&self, to: &str) -> Option<Instant> {
        let metrics = self.0.options.metrics.as_ref()?;
        metrics.invocation.request_sent(to, MessageKind::Unary);
        Some(Instant::now())
    }

    /// Counts the answer to the call that began at `started`.
    fn received<E>(&self, from: &str, started: Option<Instant>, answer: &Result<InvokeResponse, E>) {
        if let (Some(metrics), Some(started), Ok(answer)) = (&self.0.options.metrics, started, answer) {
            metrics.invocation.response_received(from, status_number(&answer.status), started.elapsed());
        }
    }

    async fn call_external(
        &self,
        target: &str,
        endpoint: Endpoint,
        request: InvokeRequest,
    ) -> Result<InvokeResponse, InvokeError> {
        let started = self.sending(target);
        let answer = endpoint.call(request).await;
        self.received(target, started, &answer);
        answer
    }

    async fn invoke_local(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let channel = self.app_channel().ok_or_else(|| {
            InvokeError::new(Code::Internal, "cannot invoke local endpoint: app channel not initialized")
        })?;
        channel.invoke(request).await.map_err(channel_error)
    }

    async fn invoke_remote(
        &self,
        id: &str,
        namespace: &str,
        request: &Template,
        body: Body,
    ) -> Result<InvokeResponse, InvokeError> {
        if body.length().is_none_or(|len| len > REPLAY_LIMIT) {
            return self.attempt(id, namespace, request, body).await.map_err(|e| e.0);
        }
        let data = whole(body).await?;
        let policies = &self.0.options.policies;
        // Its own policy replaces the built-in one.
        let policy =
            if policies.has_app(id) { Policy::NONE } else { policies.builtin(Builtin::ServiceRetries) };
        let tries = AtomicU32::new(0);
        let outcome = policy
            .run_in_place(|attempt| {
                tries.store(attempt.0, Ordering::Relaxed);
                self.attempt(id, namespace, request, Body::from(data.clone()))
            })
            .await;
        outcome.map_err(|error| match error {
            PolicyError::Operation(Attempt(error, true)) if !policy.is_none() => {
                let retries = tries.load(Ordering::Relaxed).saturating_sub(1);
                let text = format!("failed to invoke target {id} after {retries} retries. Error: {error}");
                InvokeError::new(error.code, text)
            }
            PolicyError::Operation(Attempt(error, _)) => error,
            other => InvokeError::new(Code::Internal, other.to_string()),
        })
    }

    async fn attempt(
        &self,
        id: &str,
        namespace: &str,
        request: &Template,
        body: Body,
    ) -> Result<InvokeResponse, Attempt> {
        let address = self.resolve(id, namespace).await.map_err(|e| Attempt(e, false))?;
        let started = self.sending(id);
        let answer = {
            let message = self.peer_message(id, request, body);
            let channel = self.peer(id, namespace, &address);
            peer::call(&channel, message, peer_headers(&request.headers), self.max_message())
        }
        .await;
        self.received(id, started, &answer);
        match answer {
            Ok(answer) => Ok(answer),
            Err(PeerError::Unreachable(reason)) => {
                self.forget(id, namespace, &address);
                Err(Attempt(InvokeError::status(Code::Unavailable, &reason), true))
            }
            Err(PeerError::Status { code, message }) => {
                let again = matches!(code, Code::Unavailable | Code::Unauthenticated);
                if again {
                    self.forget(id, namespace, &address);
                }
                Err(Attempt(InvokeError::status(code, &message), again))
            }
        }
    }

    /// The call as it travels to a peer.
    fn peer_message(&self, callee: &str, request: &Template, body: Body) -> Body {
        let (own, forwarded) = (self.identity(), &self.0.forwarded);
        let spelling = if request.origin == Origin::Http { Spelling::Canonical } else { Spelling::Lower };
        let head = RequestHead {
            metadata: Metadata {
                headers: &request.headers,
                spelling,
                added: &[
                    ("X-Forwarded-For", &forwarded.address),
                    ("X-Forwarded-Host", &forwarded.hostname),
                    ("Forwarded", &forwarded.element),
                    ("dapr-caller-app-id", own.app_id()),
                    ("dapr-caller-namespace", own.namespace()),
                    ("dapr-callee-app-id", callee),
                ],
            },
            method: &request.method,
            type_url: &request.type_url,
            content_type: request.content_type.as_ref(),
            verb: super::verb(&request.verb) as i32,
            query: &request.query,
        };
        peer::request_body(&head, body)
    }

    /// `host:port` of a sidecar of the application.
    pub async fn resolve(&self, id: &str, namespace: &str) -> Result<Arc<str>, InvokeError> {
        let known = self.0.addresses.read().get(&AppKey(id, namespace)).and_then(Resolved::current);
        match known {
            Some(address) => Ok(address),
            // Boxed: most calls find the address here.
            None => Box::pin(self.look_up(id, namespace)).await,
        }
    }

    async fn look_up(&self, id: &str, namespace: &str) -> Result<Arc<str>, InvokeError> {
        let now = Instant::now();
        let resolver = self.0.resolver.load_full();
        let resolver = resolver
            .as_deref()
            .ok_or_else(|| InvokeError::new(Code::Internal, "name resolver not initialized"))?
            .get();
        let addresses = self.ask(resolver, id, namespace).await?;
        let ttl = if resolver.is_multi_address() { MULTI_ADDRESS_TTL } else { SINGLE_ADDRESS_TTL };
        let answer = pick(&addresses);
        let key = (id.to_owned(), namespace.to_owned());
        self.0.addresses.write().insert(key, Resolved { addresses, until: now + ttl });
        Ok(answer)
    }

    async fn ask(
        &self,
        resolver: &Arc<dyn NameResolver>,
        id: &str,
        namespace: &str,
    ) -> Result<Arc<[Arc<str>]>, InvokeError> {
        let request = ResolveRequest { app_id: id, namespace, port: self.0.options.internal_port };
        for round in 0..=EMPTY_ANSWER_TRIES {
            if round > 0 {
                tokio::time::sleep(EMPTY_ANSWER_PAUSE).await;
            }
            let found = resolver
                .resolve(&request)
                .await
                .map_err(|e| InvokeError::new(Code::Internal, e.to_string()))?;
            if !found.is_empty() {
                return Ok(found.into_iter().map(Arc::from).collect());
            }
        }
        Err(InvokeError::new(
            Code::Internal,
            format!("resolver returned empty address for app id {namespace}/{id}"),
        ))
    }

    /// The shared connection to the sidecar of an application at `address`.
    pub fn peer(&self, id: &str, namespace: &str, address: &Arc<str>) -> H2Channel {
        if let Some(peer) = self.0.peers.read().get(address).filter(|p| p.is(namespace, id)) {
            return peer.channel.clone();
        }
        let fresh = self.dial(id, namespace, address);
        let mut peers = self.0.peers.write();
        if peers.len() >= MAX_PEERS {
            peers.clear();
        }
        match peers.get(address).filter(|p| p.is(namespace, id)) {
            Some(peer) => peer.channel.clone(),
            None => {
                let channel = fresh.channel.clone();
                peers.insert(address.clone(), fresh);
                channel
            }
        }
    }

    fn dial(&self, id: &str, namespace: &str, address: &Arc<str>) -> Peer {
        let options = &self.0.options;
        let mut destination = Destination::tcp(address.clone(), DIAL_TIMEOUT);
        let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
        let tls = options.security.as_ref().and_then(|s| s.client_of_app(namespace, id, host));
        let proved = tls.is_some().then(|| (namespace.into(), id.into()));
        if let Some(tls) = tls {
            destination = destination.wrapped(tls);
        }
        let limits = H2Options::peer(options.max_header_list);
        let channel = H2Channel::new(destination, proved.is_some(), limits, options.tasks.clone());
        Peer { channel, proved }
    }

    /// Drops what is remembered about an address that failed.
    pub(super) fn forget(&self, id: &str, namespace: &str, address: &Arc<str>) {
        self.0.addresses.write().swap_remove(&AppKey(id, namespace));
        self.0.peers.write().remove(address);
    }
}

/// gRPC metadata of a call to a peer: the trace context, which the peer's own
/// span continues, is there and not in the message.
fn peer_headers(request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    let parent = request.get(TRACEPARENT).and_then(|v| v.to_str().ok());
    if let Some(context) = parent.and_then(TraceContext::parse_traceparent) {
        propagation::write_grpc(&context, &mut headers);
    }
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static("dapr-sidecar"));
    headers
}

/// A status as the metrics of invocation show it: its number in whichever
/// protocol.
pub(super) fn status_number(status: &AppStatus) -> u16 {
    match status {
        AppStatus::Http(status) => *status,
        AppStatus::Grpc { code, .. } => *code as u16,
    }
}

fn pick(addresses: &Arc<[Arc<str>]>) -> Arc<str> {
    match addresses.len() {
        1 => addresses[0].clone(),
        n => addresses[fastrand::usize(..n)].clone(),
    }
}

fn channel_error(error: ChannelError) -> InvokeError {
    let code = match &error {
        ChannelError::Invalid(_) => Code::InvalidArgument,
        ChannelError::Unhealthy | ChannelError::Client(_) => Code::Internal,
    };
    InvokeError::status(code, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<'a, F>(_: impl FnOnce(&'a InvokeService, Arc<str>, InvokeRequest) -> F) -> usize {
        size_of::<F>()
    }

    /// Every call allocates its future and moves it into place; what is held
    /// across an await without need is paid for each time. Once it was 10 KiB.
    #[test]
    fn the_future_of_a_call_stays_small() {
        let size = size_of_future(InvokeService::invoke);
        assert!(size <= 3584, "{size} bytes");
    }
}
