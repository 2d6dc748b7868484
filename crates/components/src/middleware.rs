//! HTTP middleware and the pipelines made of it (runtime.md §6).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use dapr_gocompat::http_status::status_text;
use dapr_transport::{Body, BoxError};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;

const SCOPE: &str = "dapr.middleware.http";
/// What an empty version means, of a component and of a handler.
const DEFAULT_VERSION: &str = "v1";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What comes out of a pipeline. An error means that no answer came from the
/// application; a middleware passes it on.
pub type Answer = Result<Response<Body>, BoxError>;

/// Stands between a caller and the end of a pipeline.
///
/// Requests have URIs in origin form with an escaped path. Extensions: the
/// caller's [`Peer`](dapr_transport::server::Peer) in the API's pipeline, the
/// [`Scheme`] in the application's.
#[async_trait]
pub trait HttpMiddleware: Send + Sync {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer;

    async fn close(&self) {}
}

/// Scheme of the application's URL, on requests to it.
#[derive(Clone, Copy, Debug)]
pub struct Scheme(pub &'static str);

/// Where a pipeline leads to.
#[async_trait]
pub trait Endpoint: Send + Sync {
    async fn call(&self, request: Request<Body>) -> Answer;
}

/// The rest of a pipeline.
pub struct Next<'a> {
    rest: &'a [Arc<dyn HttpMiddleware>],
    end: &'a dyn Endpoint,
}

impl<'a> Next<'a> {
    /// All of `chain`, then `end`.
    pub fn new(chain: &'a [Arc<dyn HttpMiddleware>], end: &'a dyn Endpoint) -> Self {
        Self { rest: chain, end }
    }

    pub async fn run(self, request: Request<Body>) -> Answer {
        match self.rest.split_first() {
            Some((first, rest)) => first.handle(request, Next { rest, end: self.end }).await,
            None => self.end.call(request).await,
        }
    }
}

/// A refusal: the status with its own text; a status that has none becomes 500
/// (components.md §12).
pub fn refuse(status: StatusCode) -> Response<Body> {
    match status_text(status.as_u16()) {
        "" => {
            let failure = StatusCode::INTERNAL_SERVER_ERROR;
            refuse_with(failure, status_text(failure.as_u16()))
        }
        text => refuse_with(status, text),
    }
}

/// A refusal with a text of its own.
pub fn refuse_with(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// A handler of a Configuration's pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerRef {
    pub name: String,
    /// Full type, compared as written.
    pub component_type: String,
    /// Empty is `v1`.
    pub version: String,
}

impl HandlerRef {
    fn names(&self, loaded: &Loaded) -> bool {
        let version = if self.version.is_empty() { DEFAULT_VERSION } else { &self.version };
        self.component_type == loaded.component_type && version == loaded.version
    }
}

/// Middleware in the order in which a request meets it.
pub type Chain = Vec<Arc<dyn HttpMiddleware>>;

/// An ordered list of middleware that follows the components that are loaded.
/// Cloning shares it; the default one is empty for good.
#[derive(Clone, Default)]
pub struct Pipeline(Option<Arc<Handlers>>);

struct Handlers {
    name: &'static str,
    wanted: Vec<HandlerRef>,
    chain: ArcSwapOption<Chain>,
}

impl Pipeline {
    /// What requests go through now; `None` when nothing stands in their way.
    pub fn chain(&self) -> Option<Arc<Chain>> {
        self.0.as_ref()?.chain.load_full()
    }

    /// Always these, in this order: for tests and fixed set-ups.
    pub fn fixed(chain: Chain) -> Self {
        let chain = ArcSwapOption::from_pointee(chain);
        Self(Some(Arc::new(Handlers { name: "fixed", wanted: Vec::new(), chain })))
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let handlers = self.0.as_ref().map_or(0, |h| h.wanted.len());
        f.debug_struct("Pipeline").field("handlers", &handlers).finish()
    }
}

struct Loaded {
    component_type: String,
    version: String,
    middleware: Arc<dyn HttpMiddleware>,
}

/// The middleware components that are loaded, and the pipelines that use them.
/// Cloning shares it.
#[derive(Clone, Default)]
pub struct Middlewares(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    loaded: HashMap<String, Loaded>,
    pipelines: Vec<Arc<Handlers>>,
}

impl Middlewares {
    /// A pipeline of the handlers that are loaded, now and later; those that
    /// are not are skipped.
    pub fn pipeline(&self, name: &'static str, wanted: Vec<HandlerRef>) -> Pipeline {
        if wanted.is_empty() {
            return Pipeline::default();
        }
        let handlers = Arc::new(Handlers { name, wanted, chain: ArcSwapOption::empty() });
        let mut known = self.0.lock();
        known.rebuild(&handlers);
        known.pipelines.push(handlers.clone());
        Pipeline(Some(handlers))
    }

    /// Adds or replaces a component.
    pub fn add(&self, name: &str, component_type: &str, version: &str, middleware: Arc<dyn HttpMiddleware>) {
        tracing::info!(target: SCOPE, "Adding {component_type}/{version} {name} middleware");
        let version = if version.is_empty() { DEFAULT_VERSION } else { version };
        let loaded =
            Loaded { component_type: component_type.to_owned(), version: version.to_owned(), middleware };
        let mut known = self.0.lock();
        known.loaded.insert(name.to_owned(), loaded);
        known.rebuild_all();
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn HttpMiddleware>> {
        self.0.lock().loaded.get(name).map(|loaded| loaded.middleware.clone())
    }

    /// Takes a component out; requests that are in it already are answered.
    pub fn remove(&self, name: &str) -> Option<Arc<dyn HttpMiddleware>> {
        let mut known = self.0.lock();
        let Loaded { component_type, version, middleware } = known.loaded.remove(name)?;
        tracing::info!(target: SCOPE, "Removing {component_type}/{version} {name} middleware");
        known.rebuild_all();
        Some(middleware)
    }
}

impl Known {
    fn rebuild_all(&self) {
        for handlers in &self.pipelines {
            self.rebuild(handlers);
        }
    }

    fn rebuild(&self, handlers: &Handlers) {
        tracing::info!(target: SCOPE, "Building pipeline {}", handlers.name);
        let chain: Vec<_> = handlers
            .wanted
            .iter()
            .filter_map(|wanted| {
                let loaded = self.loaded.get(&wanted.name).filter(|l| wanted.names(l))?;
                Some(loaded.middleware.clone())
            })
            .collect();
        handlers.chain.store((!chain.is_empty()).then(|| Arc::new(chain)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves its mark on the path.
    struct Mark(&'static str);

    #[async_trait]
    impl HttpMiddleware for Mark {
        async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
            let path = format!("{}{}", request.uri().path(), self.0);
            *request.uri_mut() = path.parse().unwrap();
            next.run(request).await
        }
    }

    struct Echo;

    #[async_trait]
    impl Endpoint for Echo {
        async fn call(&self, request: Request<Body>) -> Answer {
            Ok(Response::new(Body::from(request.uri().path().to_owned())))
        }
    }

    async fn path(pipeline: &Pipeline) -> String {
        let chain = pipeline.chain().unwrap_or_default();
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let answer = Next::new(&chain, &Echo).run(request).await.unwrap();
        String::from_utf8(answer.into_body().collect().await.unwrap().to_vec()).unwrap()
    }

    fn wanted(items: &[(&str, &str, &str)]) -> Vec<HandlerRef> {
        items
            .iter()
            .map(|(name, component_type, version)| HandlerRef {
                name: (*name).to_owned(),
                component_type: (*component_type).to_owned(),
                version: (*version).to_owned(),
            })
            .collect()
    }

    #[tokio::test]
    async fn a_pipeline_follows_what_is_loaded_in_the_listed_order() {
        let all = Middlewares::default();
        let pipeline = all.pipeline("test", wanted(&[("b", "t", "v1"), ("a", "t", ""), ("b", "t", "")]));
        assert!(pipeline.chain().is_none());
        all.add("a", "t", "v1", Arc::new(Mark("a")));
        assert_eq!(path(&pipeline).await, "/a");
        all.add("b", "t", "", Arc::new(Mark("b")));
        assert_eq!(path(&pipeline).await, "/bab");
        all.add("b", "t", "", Arc::new(Mark("c")));
        assert_eq!(path(&pipeline).await, "/cac");
        assert!(all.remove("a").is_some());
        assert!(all.remove("a").is_none());
        assert_eq!(path(&pipeline).await, "/cc");
    }

    #[tokio::test]
    async fn name_type_and_version_must_be_the_same() {
        let all = Middlewares::default();
        all.add("a", "t", "v1", Arc::new(Mark("a")));
        for other in [("A", "t", ""), ("a", "T", ""), ("a", "t", "v2"), ("a", "t", "V1")] {
            assert!(all.pipeline("test", wanted(&[other])).chain().is_none(), "{other:?}");
        }
    }

    #[test]
    fn refusals_say_their_status() {
        let status = |code| refuse(StatusCode::from_u16(code).unwrap());
        assert_eq!(status(429).body().as_full().unwrap(), "Too Many Requests");
        assert_eq!(status(799).status(), 500);
    }

    #[test]
    fn no_handlers_is_no_pipeline() {
        assert!(Middlewares::default().pipeline("test", Vec::new()).0.is_none());
    }
}
