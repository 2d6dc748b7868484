//! An application that speaks HTTP, in process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_app_channel::health::AppHealth;
use dapr_app_channel::{AppChannel, Options, Protocol};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::server::{self, Peer, Service};
use dapr_transport::{Body, listen};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// A request that the application got.
#[derive(Debug)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

type Answer = Arc<dyn Fn(&Seen) -> (u16, String) + Send + Sync>;

pub(crate) struct TestApp {
    pub channel: AppChannel,
    pub tasks: TaskGroup,
    seen: mpsc::UnboundedReceiver<Seen>,
}

struct Server {
    answer: Answer,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Service for Server {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = Body::from_incoming(body).collect().await.unwrap_or_default();
        let seen = Seen {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body,
        };
        let (status, text) = (self.answer)(&seen);
        let _ = self.seen.send(seen);
        let mut response = Response::new(Body::from(Bytes::from(text)));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        response
    }
}

impl TestApp {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        let tasks = TaskGroup::new(Shutdown::new());
        let listener = listen::bind("127.0.0.1", 0, Duration::from_secs(1)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::unbounded_channel();
        let service = Arc::new(Server { answer: Arc::new(answer), seen: sender });
        let options = server::Options::http(server::Protocol::Http);
        tasks.spawn("test app", server::serve(listener, service, options, tasks.clone()));
        let options = Options {
            protocol: Protocol::Http,
            address: "127.0.0.1".to_owned(),
            port,
            max_concurrency: None,
            token: None,
            max_response_head: 1 << 16,
            max_message: 0,
            metrics: None,
            pipeline: dapr_components::middleware::Pipeline::default(),
            zero_trace: true,
        };
        let health = AppHealth::new();
        health.set(true);
        Self { channel: AppChannel::new(options, health, tasks.clone()), tasks, seen }
    }

    /// The next request, at most ten seconds from now.
    pub(crate) async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}
