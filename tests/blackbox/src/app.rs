use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use http::{Request as HttpRequest, Response as HttpResponse};

/// What an application receives: the body has been read to its end.
pub type Request = http::Request<Bytes>;
/// What an application answers.
pub type Response = http::Response<BoxBody<Bytes, Infallible>>;

type Handler = dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync;

/// An application in this process, answering HTTP/1.1 on a free port until
/// dropped.
pub struct FakeApp {
    pub port: u16,
    _serving: JoinSet<()>,
}

impl FakeApp {
    /// Serves every request with `handle`.
    pub async fn start<F, R>(handle: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("free port");
        let port = listener.local_addr().expect("bound").port();
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handle(request)));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, handler));
        Self { port, _serving: serving }
    }
}

async fn accept(listener: TcpListener, handler: Arc<Handler>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(|request| serve(request, &handler));
            // A peer that goes away in the middle is what some of the tests are about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(request: HttpRequest<Incoming>, handler: &Arc<Handler>) -> Result<Response, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(handler(Request::from_parts(head, body)).await)
}

/// An answer with a body of known length.
pub fn respond(status: u16, body: impl Into<Bytes>) -> Response {
    let body = Full::new(body.into()).boxed();
    HttpResponse::builder().status(status).body(body).expect("valid status")
}

/// `200` with JSON.
pub fn respond_json(value: &serde_json::Value) -> Response {
    let mut response = respond(200, value.to_string());
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

/// Sends the chunks of a [`respond_stream`]; dropping it ends the body.
pub type Chunks = mpsc::Sender<Bytes>;

/// `200` whose body is sent chunk by chunk as the test hands them over.
pub fn respond_stream() -> (Chunks, Response) {
    let (sender, chunks) = mpsc::channel(1);
    let body = BodyExt::boxed(ChunkBody { chunks });
    (sender, HttpResponse::new(body))
}

struct ChunkBody {
    chunks: mpsc::Receiver<Bytes>,
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
