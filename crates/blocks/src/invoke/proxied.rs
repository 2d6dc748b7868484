//! gRPC calls that are passed on to another application without being decoded,
//! under the policy of that application (api.md §7.7).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dapr_errors::Code;
use dapr_resiliency::{Attempt, Outcome, Policy, PolicyError, StatusCode};
use dapr_telemetry::metrics::catalogue::MessageKind;
use dapr_transport::client::{ClientError, H2Channel};
use dapr_transport::{Body, BodyError, grpc};
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::replay::Replay;
use super::service::InvokeService;

/// Metadata with which callers say that a call streams.
const STREAM: &str = "dapr-stream";
/// Longest message kept for another attempt where there is no limit for
/// messages, in bytes.
const REPLAY_LIMIT: u64 = 4 << 20;
/// Parts of an answer on their way to the caller.
const PARTS: usize = 2;

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub struct Callee<'a> {
    pub id: &'a str,
    pub namespace: &'a str,
    /// `dapr-app-id` of the call, by which policies go; without it there is
    /// none.
    pub named: Option<&'a str>,
}

/// Why a call has no answer from its target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unanswered {
    pub code: Code,
    pub message: String,
    /// Whether the target was called at all.
    pub reached: bool,
}

impl InvokeService {
    /// Passes a call on to the sidecar of another application. Retries and
    /// timeouts are for the whole of a call, but those of one that streams for
    /// its beginning. Nothing is tried again once a part of the answer was
    /// handed to the caller.
    pub async fn pass_on(
        &self,
        callee: Callee<'_>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Unanswered> {
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONNECTION);
        let Callee { id, namespace, named } = callee;
        // A target that cannot be found is no matter of policies.
        let address = self.resolve(id, namespace).await.map_err(|e| Unanswered {
            code: Code::Unknown,
            message: e.to_string(),
            reached: true,
        })?;
        let path = request.uri().path();
        let policy = named.map_or(Policy::NONE, |named| self.policies().app_method(named, path));
        if policy.is_none() {
            let channel = self.peer(id, namespace, &address);
            let sent = channel.send(request).await;
            return sent.map_err(|e| self.unreachable(id, namespace, &address, e).into());
        }
        if streams(request.headers()) {
            let channel = policy.run(|_| self.reach(id, namespace)).await.map_err(unanswered)?;
            let sent = channel.send(request).await;
            return sent.map_err(|e| self.unreachable(id, namespace, &address, e).into());
        }
        let (head, body) = request.into_parts();
        let (parts, received) = mpsc::channel(PARTS);
        let call = Call {
            service: self.clone(),
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            named: named.unwrap_or_default().to_owned(),
            verb: head.method,
            uri: head.uri,
            headers: head.headers,
            body: if policy.has_retries() {
                Source::Repeated(Replay::new(body, self.replay_limit()))
            } else {
                Source::Once(Mutex::new(Some(body)))
            },
            parts,
            handed_on: AtomicBool::new(false),
            tried: Mutex::new(None),
        };
        Under::new(policy, call, received).answer().await
    }

    fn replay_limit(&self) -> u64 {
        match self.max_message() {
            0 => REPLAY_LIMIT,
            limit => limit as u64,
        }
    }

    /// A connection to a sidecar of the application.
    async fn reach(&self, id: &str, namespace: &str) -> Result<H2Channel, Failure> {
        let address = self.resolve(id, namespace).await.map_err(|e| Failure::NoAnswer {
            code: Code::Unknown,
            message: e.to_string(),
            matched: false,
            reached: true,
        })?;
        let channel = self.peer(id, namespace, &address);
        match channel.connect().await {
            Ok(()) => Ok(channel),
            Err(error) => Err(self.unreachable(id, namespace, &address, error)),
        }
    }

    /// What a failure to reach a peer is for the caller; the next call looks
    /// for the peer anew.
    fn unreachable(&self, id: &str, namespace: &str, address: &Arc<str>, error: ClientError) -> Failure {
        self.forget(id, namespace, address);
        let (message, matched) = match error {
            ClientError::Connect(error) => {
                (format!("connection error: desc = \"transport: Error while dialing: {error}\""), false)
            }
            broken @ ClientError::Broken(_) => (broken.to_string(), true),
        };
        Failure::NoAnswer { code: Code::Unavailable, message, matched, reached: false }
    }
}

fn streams(headers: &HeaderMap) -> bool {
    let value = headers.get(STREAM).and_then(|v| v.to_str().ok()).unwrap_or_default();
    dapr_gocompat::bools::is_truthy(value)
}

/// Why an attempt failed.
enum Failure {
    NoAnswer {
        code: Code,
        message: String,
        /// Whether the list of codes to retry counts: a failure to connect is
        /// always worth another attempt.
        matched: bool,
        reached: bool,
    },
    /// The target's own status, and nothing before it.
    Answered { code: i32, message: String, response: Box<Response<Body>> },
    /// The caller has got part of the answer, status included.
    HandedOn { code: i32, message: String },
    /// The caller sent more than can be repeated.
    Streaming,
}

impl Failure {
    fn code(&self) -> i32 {
        match self {
            Self::NoAnswer { code, .. } => *code as i32,
            Self::Answered { code, .. } | Self::HandedOn { code, .. } => *code,
            Self::Streaming => Code::FailedPrecondition as i32,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAnswer { message, .. } => f.write_str(message),
            Self::Answered { code, message, .. } | Self::HandedOn { code, message } => {
                f.write_str(&dapr_errors::grpc_nested(Code::from_i32(*code), message))
            }
            Self::Streaming => f.write_str("cannot use resiliency policies with retries on streaming RPCs"),
        }
    }
}

impl Outcome for Failure {
    fn retriable(&self) -> bool {
        !matches!(self, Self::Streaming | Self::HandedOn { .. })
    }

    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::NoAnswer { matched: false, .. } => None,
            _ => Some(StatusCode::grpc(self.code())),
        }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let reached = !matches!(failure, Failure::NoAnswer { reached: false, .. });
        Self { code: Code::from_i32(failure.code()), message, reached }
    }
}

fn unanswered(error: PolicyError<Failure>) -> Unanswered {
    let (code, message) = match error {
        PolicyError::Operation(failure) => return failure.into(),
        PolicyError::Timeout => (Code::DeadlineExceeded, error.to_string()),
        PolicyError::Breaker(_) => (Code::Unknown, error.to_string()),
    };
    Unanswered { code, message, reached: true }
}

/// A part of an answer.
enum Part {
    Head(Box<response::Parts>),
    Frame(Frame<Bytes>),
}

enum Source {
    Once(Mutex<Option<Body>>),
    Repeated(Replay),
}

/// A call that may be made several times.
struct Call {
    service: InvokeService,
    id: String,
    namespace: String,
    named: String,
    verb: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Source,
    parts: mpsc::Sender<Part>,
    handed_on: AtomicBool,
    /// Start and code of the attempt before.
    tried: Mutex<Option<(Instant, i32)>>,
}

impl Call {
    async fn attempt(&self) -> Result<(), Failure> {
        self.count_attempt();
        let started = Instant::now();
        let outcome = self.make().await;
        if let Err(failure) = &outcome {
            *self.tried.lock() = Some((started, failure.code()));
        }
        outcome
    }

    /// The first attempt, and the outcome of the last, are counted by whoever
    /// serves the call.
    fn count_attempt(&self) {
        let Some((started, code)) = self.tried.lock().take() else { return };
        if let Some(metrics) = self.service.metrics() {
            let code = u16::try_from(code).unwrap_or(Code::Unknown as u16);
            metrics.invocation.response_received(&self.named, code, started.elapsed());
            metrics.invocation.request_sent(&self.named, MessageKind::Unary);
        }
    }

    async fn make(&self) -> Result<(), Failure> {
        let channel = self.service.reach(&self.id, &self.namespace).await?;
        let mut request = Request::new(match &self.body {
            Source::Once(body) => body.lock().take().unwrap_or_default(),
            Source::Repeated(replay) => replay.body(),
        });
        *request.method_mut() = self.verb.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self.unless_refused(channel.send(request)).await?.map_err(broken)?;
        self.receive(response).await
    }

    /// Waits for `work`, but not beyond a second message of the caller.
    async fn unless_refused<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        match &self.body {
            Source::Once(_) => Ok(work.await),
            Source::Repeated(replay) => tokio::select! {
                biased;
                () = replay.refused() => Err(Failure::Streaming),
                done = work => Ok(done),
            },
        }
    }

    /// Hands an answer on from its first message; one without is judged first.
    async fn receive(&self, response: Response<Body>) -> Result<(), Failure> {
        if let Some((code, message)) = grpc::status_of(response.headers())
            && code != 0
        {
            return Err(Failure::Answered { code, message, response: Box::new(response) });
        }
        let (head, mut body) = response.into_parts();
        let only_head = grpc::status_of(&head.headers).is_some();
        let mut head = Some(head);
        while let Some(frame) = self.unless_refused(body.frame()).await? {
            let frame = frame.map_err(|e| broken(ClientError::Broken(e.into())))?;
            let status = frame.trailers_ref().map(|t| grpc::status_of(t).unwrap_or_default());
            if let Some((code, message)) = &status
                && *code != 0
                && let Some(head) = head.take()
            {
                let body =
                    http_body_util::StreamBody::new(futures::stream::iter([Ok::<_, BodyError>(frame)]));
                let response = Box::new(Response::from_parts(head, Body::boxed(body)));
                return Err(Failure::Answered { code: *code, message: message.clone(), response });
            }
            if let Some(head) = head.take() {
                self.hand_on(Part::Head(Box::new(head))).await;
            }
            self.hand_on(Part::Frame(frame)).await;
            match status {
                None => {}
                Some((0, _)) => return Ok(()),
                Some((code, message)) => return Err(Failure::HandedOn { code, message }),
            }
        }
        match head.take() {
            Some(head) if only_head => {
                self.hand_on(Part::Head(Box::new(head))).await;
                Ok(())
            }
            _ => Err(broken(ClientError::Broken("the answer ended without a status".into()))),
        }
    }

    /// What nobody receives any more is lost: the caller is gone.
    async fn hand_on(&self, part: Part) {
        self.handed_on.store(true, Ordering::Relaxed);
        let _ = self.parts.send(part).await;
    }

    fn is_repeatable(&self) -> bool {
        let sent = match &self.body {
            Source::Once(_) => false,
            Source::Repeated(replay) => replay.is_repeatable(),
        };
        sent && !self.handed_on.load(Ordering::Relaxed)
    }
}

fn broken(error: ClientError) -> Failure {
    Failure::NoAnswer { code: Code::Unavailable, message: error.to_string(), matched: true, reached: true }
}

type Running = Pin<Box<dyn Future<Output = Result<(), PolicyError<Failure>>> + Send>>;

/// A call under its policy: first what makes the answer's head, then the
/// answer's body, both driven by whoever waits for them.
struct Under {
    running: Option<Running>,
    parts: mpsc::Receiver<Part>,
    failed: Option<PolicyError<Failure>>,
}

impl Under {
    fn new(policy: Policy, call: Call, parts: mpsc::Receiver<Part>) -> Self {
        let running = async move {
            let call = &call;
            policy.run_while(|| call.is_repeatable(), |Attempt(_)| call.attempt()).await
        };
        Self { running: Some(Box::pin(running)), parts, failed: None }
    }

    async fn answer(mut self) -> Result<Response<Body>, Unanswered> {
        let first = std::future::poll_fn(|cx| self.poll_part(cx)).await;
        match (first, self.failed.take()) {
            (Some(Part::Head(head)), failed) => {
                self.failed = failed;
                Ok(Response::from_parts(*head, Body::boxed(self)))
            }
            (None, Some(PolicyError::Operation(Failure::Answered { response, .. }))) => Ok(*response),
            (_, Some(error)) => Err(unanswered(error)),
            // The head comes first, and a call that succeeded has one.
            (Some(Part::Frame(_)) | None, None) => {
                let message = "the answer has no head".to_owned();
                Err(Unanswered { code: Code::Internal, message, reached: true })
            }
        }
    }

    /// `None` when the call is over.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Some(running) = &mut self.running
            && let Poll::Ready(outcome) = running.as_mut().poll(cx)
        {
            // With it goes the sender of parts.
            self.running = None;
            self.failed = outcome.err();
        }
        self.parts.poll_recv(cx)
    }
}

impl HttpBody for Under {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        Poll::Ready(match std::task::ready!(this.poll_part(cx)) {
            Some(Part::Frame(frame)) => Some(Ok(frame)),
            Some(Part::Head(_)) => Some(Err(BodyError::broken("two heads in one answer"))),
            None => match this.failed.take() {
                None | Some(PolicyError::Operation(Failure::HandedOn { .. })) => None,
                Some(error) => Some(Ok(Frame::trailers(trailers(&unanswered(error))))),
            },
        })
    }
}

fn trailers(failure: &Unanswered) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(failure.code as i32));
    if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(&failure.message)) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

#[cfg(test)]
#[path = "proxied_tests.rs"]
mod tests;
