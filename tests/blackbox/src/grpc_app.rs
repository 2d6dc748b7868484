use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::grpc::{CALL_TIMEOUT, Messages, grpc_frame};

type Answer = Response<BoxBody<Bytes, hyper::Error>>;
type OnInvoke = dyn Fn(Bytes) -> Bytes + Send + Sync;

const CALLBACK: &str = "/dapr.proto.runtime.v1.AppCallback/";

/// An application that speaks gRPC without TLS on a free port, until dropped.
/// Each method of its own, whatever its name, sends back what it gets as it
/// comes; of Dapr's callbacks it has `OnInvoke`.
pub struct GrpcApp {
    pub port: u16,
    _serving: JoinSet<()>,
}

impl GrpcApp {
    /// `on_invoke` makes an `InvokeResponse` of an `InvokeRequest`, both
    /// encoded.
    pub async fn start(on_invoke: impl Fn(Bytes) -> Bytes + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("free port");
        let port = listener.local_addr().expect("bound").port();
        let on_invoke: Arc<OnInvoke> = Arc::new(on_invoke);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let on_invoke = on_invoke.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, on_invoke.clone()));
                    // A peer that goes away in the middle is its own affair.
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, _serving: serving }
    }
}

async fn answer(request: Request<Incoming>, on_invoke: Arc<OnInvoke>) -> Result<Answer, hyper::Error> {
    let method = request.uri().path().strip_prefix(CALLBACK).map(str::to_owned);
    let body = match method.as_deref() {
        None => request.into_body().boxed(),
        Some("OnInvoke") => {
            let message = request.into_body().collect().await?.to_bytes();
            Full::new(grpc_frame(&on_invoke(message.slice(5..)))).map_err(never).boxed()
        }
        Some(_) => return Ok(ended(Full::new(Bytes::new()).map_err(never).boxed(), 12)),
    };
    Ok(ended(body, 0))
}

fn never(never: Infallible) -> hyper::Error {
    match never {}
}

fn ended(body: BoxBody<Bytes, hyper::Error>, status: u8) -> Answer {
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from(u16::from(status)),
    )]);
    let body = body.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).expect("valid")
}

/// A gRPC call whose messages go and come one by one.
pub struct GrpcStream {
    requests: Option<mpsc::Sender<Bytes>>,
    answer: Messages,
    _connection: JoinSet<()>,
}

impl GrpcStream {
    /// Opens it at the server on a port of this machine; `first` goes at once.
    pub async fn open(port: u16, path: &str, metadata: &[(&str, &str)], first: &[u8]) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a gRPC server");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(connection.await) });
        let (requests, body) = mpsc::channel(1);
        requests.send(grpc_frame(first)).await.expect("room for one");
        let body = futures::stream::unfold(body, |mut body| async move {
            let frame = body.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(frame)), body))
        })
        .boxed();
        let mut request = Request::post(format!("http://127.0.0.1{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(http_body_util::StreamBody::new(body)).expect("a request");
        let answer = timeout(CALL_TIMEOUT, sender.send_request(request)).await.expect("a head in time");
        Self {
            requests: Some(requests),
            answer: Messages::new(answer.expect("a head").into_body()),
            _connection: serving,
        }
    }

    pub async fn send(&mut self, message: &[u8]) {
        let requests = self.requests.as_ref().expect("not ended");
        requests.send(grpc_frame(message)).await.expect("the server reads");
    }

    /// No more messages from us.
    pub fn end(&mut self) {
        self.requests = None;
    }

    /// The next message; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.answer.next().await
    }

    /// The status, once there are no more messages.
    pub fn code(&self) -> Option<i32> {
        self.answer.trailers.get("grpc-status")?.to_str().ok()?.parse().ok()
    }
}
