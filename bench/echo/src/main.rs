//! The application behind the sidecars in the load scenarios: it echoes bodies, counts deliveries and
//! measures how long a message took from publish to delivery, echoes unary gRPC calls, and takes spans like a
//! collector. One thread, so that it takes little from the two cores it shares with the sidecars. It knows nothing
//! of Dapr's crates: it is a user's app.
//!
//! `bench-echo [--subscribe PUBSUB/TOPIC]` listens on a free loopback port and prints the port.
#![forbid(unsafe_code)]

mod deliveries;
mod publisher;

use std::cell::Cell;
use std::rc::Rc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use crate::deliveries::Deliveries;

type Trailers = std::future::Ready<Option<Result<HeaderMap, std::convert::Infallible>>>;
type Body = Either<Incoming, Either<Full<Bytes>, WithTrailers<Full<Bytes>, Trailers>>>;

#[derive(Default)]
struct Traces {
    batches: Cell<u64>,
    bytes: Cell<u64>,
}

struct App {
    /// What came as if this were an OTLP collector.
    traces: Traces,
    /// `(pubsub, topic)` answered on `/dapr/subscribe`.
    subscription: Option<(String, String)>,
    deliveries: Deliveries,
}

fn main() -> anyhow::Result<()> {
    let app = Rc::new(App {
        traces: Traces::default(),
        subscription: parse_arguments()?,
        deliveries: Deliveries::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(app))
}

fn parse_arguments() -> anyhow::Result<Option<(String, String)>> {
    let mut arguments = std::env::args().skip(1);
    let Some(flag) = arguments.next() else { return Ok(None) };
    anyhow::ensure!(
        flag == "--subscribe",
        "unknown argument {flag:?}; usage: bench-echo [--subscribe PUBSUB/TOPIC]"
    );
    let value = arguments.next().context("--subscribe needs PUBSUB/TOPIC")?;
    let (pubsub, topic) = value.split_once('/').context("--subscribe needs PUBSUB/TOPIC")?;
    Ok(Some((pubsub.to_owned(), topic.to_owned())))
}

async fn serve(app: Rc<App>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
    println!("{}", listener.local_addr()?.port());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let app = app.clone();
        connections.spawn_local(async move {
            let service = service_fn(move |request| handle(app.clone(), request));
            // A client that goes away in the middle of a connection is not an error of the app.
            let _ = auto::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Runs what a connection needs on the one thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

async fn handle(app: Rc<App>, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    if request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
    {
        return echo_call(request).await;
    }
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/deliver") => {
            let body = request.into_body().collect().await?.to_bytes();
            app.deliveries.record(&body);
            Ok(Response::new(empty()))
        }
        (&Method::GET, "/dapr/subscribe") => Ok(json(app.subscriptions())),
        (&Method::GET, "/bench/stats") => Ok(json(app.deliveries.to_json())),
        (&Method::POST, "/bench/reset") => {
            app.deliveries.reset();
            Ok(Response::new(empty()))
        }
        (&Method::POST, "/bench/publish") => {
            let body = request.into_body().collect().await?.to_bytes();
            match publisher::run(&String::from_utf8_lossy(&body)).await {
                Ok(published) => Ok(json(published.to_json())),
                Err(error) => {
                    let mut response = json(format!("{error:#}"));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    Ok(response)
                }
            }
        }
        (&Method::POST, "/v1/traces") => {
            let body = request.into_body().collect().await?.to_bytes();
            app.traces.batches.set(app.traces.batches.get() + 1);
            app.traces.bytes.set(app.traces.bytes.get() + body.len() as u64);
            Ok(Response::new(empty()))
        }
        (&Method::GET, "/bench/traces") => {
            let (batches, bytes) = (app.traces.batches.get(), app.traces.bytes.get());
            Ok(json(format!(r#"{{"batches":{batches},"bytes":{bytes}}}"#)))
        }
        (&Method::POST, _) => {
            let content_type = request.headers().get(CONTENT_TYPE).cloned();
            let mut response = Response::new(Either::Left(request.into_body()));
            if let Some(value) = content_type {
                response.headers_mut().insert(CONTENT_TYPE, value);
            }
            Ok(response)
        }
        (&Method::GET, "/") => Ok(json("\"ok\"".to_owned())),
        _ => {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

/// A unary gRPC call answered with its own message.
async fn echo_call(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let message = request.into_body().collect().await?.to_bytes();
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Either::Right(Either::Right(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

impl App {
    fn subscriptions(&self) -> String {
        self.subscription.as_ref().map_or_else(
            || "[]".to_owned(),
            |(pubsub, topic)| {
                format!(r#"[{{"pubsubname":"{pubsub}","topic":"{topic}","route":"/deliver"}}]"#)
            },
        )
    }
}

fn empty() -> Body {
    Either::Right(Either::Left(Full::default()))
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Either::Right(Either::Left(Full::new(Bytes::from(text)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
