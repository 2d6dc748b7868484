use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::grpc_frame;

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
        let listener = UnixListener::bind(socket).expect("a socket in the scratch folder");
        let services = services.iter().map(|name| Service { name: (*name).to_owned() }).collect();
        let list = Reflected { list: Some(Services { services }) }.encode_to_vec();
        let (list, answer): (Arc<[u8]>, Arc<Handler>) = (list.into(), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, list, answer));
        Self { _serving: serving }
    }
}

async fn accept(listener: UnixListener, list: Arc<[u8]>, answer: Arc<Handler>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (list, answer) = (list.clone(), answer.clone());
        connections.spawn(async move {
            let service = service_fn(|request| serve(request, list.clone(), answer.clone()));
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Frames = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn serve(
    request: Request<Incoming>,
    list: Arc<[u8]>,
    answer: Arc<Handler>,
) -> Result<Response<Frames>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let answered = if head.uri.path() == REFLECTION {
        // The client keeps its side open: the first message is all there is.
        body.frame().await.transpose()?;
        Ok(list.to_vec())
    } else {
        let body = body.collect().await?.to_bytes();
        answer(head.uri.path(), body.get(5..).unwrap_or_default())
    };
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match answered {
        Ok(message) => {
            frames.push(Ok(Frame::data(grpc_frame(&message))));
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(refusal) => {
            trailers.insert("grpc-status", HeaderValue::from(refusal.code));
            trailers.insert("grpc-message", HeaderValue::try_from(refusal.message).expect("plain text"));
            if !refusal.details.is_empty() {
                let text = STANDARD_NO_PAD.encode(refusal.details);
                trailers.insert("grpc-status-details-bin", HeaderValue::try_from(text).expect("base64"));
            }
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
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
