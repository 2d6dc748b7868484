use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::grpc::{Messages, grpc_frame};

/// Streams that nobody has taken yet.
const MAX_STREAMS: usize = 16;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const REFLECTION: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// What a component answers instead of a message.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// Number of the gRPC status code.
    pub code: i32,
    pub message: String,
    /// An encoded `google.rpc.Status`; empty for none.
    pub details: Vec<u8>,
}

type Handler = dyn Fn(&str, &[u8]) -> Result<Vec<u8>, Refusal> + Send + Sync;

/// A pluggable component in this process, served until dropped.
pub struct Pluggable {
    _serving: JoinSet<()>,
}

impl Pluggable {
    /// Listens at `socket`, whose name is the component's type. Sidecars are
    /// told that it has `services`; `answer` gets the path of each call and
    /// its message.
    pub fn start(
        socket: &Path,
        services: &[&str],
        answer: impl Fn(&str, &[u8]) -> Result<Vec<u8>, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with_streams(socket, services, "", answer).0
    }

    /// Like [`Pluggable::start`]; calls of the path `streamed` are not
    /// answered but handed out.
    pub fn start_with_streams(
        socket: &Path,
        services: &[&str],
        streamed: &'static str,
        answer: impl Fn(&str, &[u8]) -> Result<Vec<u8>, Refusal> + Send + Sync + 'static,
    ) -> (Self, mpsc::Receiver<ComponentStream>) {
        let listener = UnixListener::bind(socket).expect("a socket in the scratch folder");
        let services = services.iter().map(|name| Service { name: (*name).to_owned() }).collect();
        let list = Reflected { list: Some(Services { services }) }.encode_to_vec();
        let (opened, streams) = mpsc::channel(MAX_STREAMS);
        let component = Arc::new(Component { list, answer: Box::new(answer), streamed, opened });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, component));
        (Self { _serving: serving }, streams)
    }
}

struct Component {
    list: Vec<u8>,
    answer: Box<Handler>,
    streamed: &'static str,
    opened: mpsc::Sender<ComponentStream>,
}

/// A call whose messages go and come one by one; it ends with success when
/// dropped.
pub struct ComponentStream {
    requests: Messages,
    responses: mpsc::Sender<Bytes>,
}

impl ComponentStream {
    /// The sidecar's next message; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.requests.next().await
    }

    pub async fn send(&self, message: &[u8]) {
        self.responses.send(grpc_frame(message)).await.expect("the sidecar reads");
    }
}

async fn accept(listener: UnixListener, component: Arc<Component>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let component = component.clone();
        connections.spawn(async move {
            let service = service_fn(|request| serve(request, component.clone()));
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Frames = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn serve(
    request: Request<Incoming>,
    component: Arc<Component>,
) -> Result<Response<Frames>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    if head.uri.path() == component.streamed {
        let (responses, frames) = mpsc::channel(1);
        let stream = ComponentStream { requests: Messages::new(body), responses };
        let _ = component.opened.send(stream).await;
        let frames = futures::stream::unfold(frames, |mut frames| async move {
            let frame = frames.recv().await?;
            Some((Ok(Frame::data(frame)), frames))
        });
        let end = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        let end = futures::stream::iter([Ok(Frame::trailers(end))]);
        return Ok(answered_with(frames.chain(end).boxed()));
    }
    let answered = if head.uri.path() == REFLECTION {
        // The client keeps its side open: the first message is all there is.
        body.frame().await.transpose()?;
        Ok(component.list.clone())
    } else {
        let body = body.collect().await?.to_bytes();
        (component.answer)(head.uri.path(), body.get(5..).unwrap_or_default())
    };
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match answered {
        Ok(message) => {
            frames.push(Ok(Frame::data(grpc_frame(&message))));
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        }
        Err(refusal) => {
            trailers.insert(GRPC_STATUS, HeaderValue::from(refusal.code));
            trailers.insert("grpc-message", HeaderValue::try_from(refusal.message).expect("plain text"));
            if !refusal.details.is_empty() {
                let text = STANDARD_NO_PAD.encode(refusal.details);
                trailers.insert("grpc-status-details-bin", HeaderValue::try_from(text).expect("base64"));
            }
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    Ok(answered_with(futures::stream::iter(frames).boxed()))
}

fn answered_with(frames: BoxStream<'static, Result<Frame<Bytes>, Infallible>>) -> Response<Frames> {
    let mut response = Response::new(StreamBody::new(frames));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The part of `ServerReflectionResponse` that lists services.
#[derive(Clone, PartialEq, Message)]
struct Reflected {
    #[prost(message, optional, tag = "6")]
    list: Option<Services>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}
