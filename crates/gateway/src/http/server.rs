use std::sync::Arc;
use std::time::Instant;

use crate::ApiAccess;
use dapr_components::middleware::{Chain, Pipeline};
use dapr_gocompat::path;
use dapr_gocompat::urlesc::path_unescape;
use dapr_kernel::AppIdentity;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use http::header::{HeaderName, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;

use super::call::{Call, Params, Path};
use super::cors::Cors;
use super::router::Router;
use super::routes::{Answer, Route, TABLE};
use super::spans::{self, Traced};
use super::{invoke, pipeline, reply};
use crate::Api;

const TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");
/// Room that the reference adds to `--read-buffer-size`.
const HEADER_SLACK: usize = 4096;

/// How the API is served.
#[derive(Clone, Debug)]
pub struct Options {
    pub identity: AppIdentity,
    /// `DAPR_API_TOKEN`.
    pub token: Option<String>,
    pub cors: Option<Cors>,
    /// `--max-body-size`; `None` for no limit.
    pub max_body: Option<u64>,
    /// `--read-buffer-size` in bytes.
    pub max_header: usize,
    pub access: ApiAccess,
    pub api_log: Option<ApiLog>,
    /// What requests go through between the token and the routes.
    pub pipeline: Pipeline,
}

/// `--enable-api-logging` and its Configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiLog {
    pub obfuscate_urls: bool,
    pub omit_health_checks: bool,
}

/// The HTTP API on one listener.
pub struct HttpApi {
    api: Arc<Api>,
    router: Router,
    options: Options,
    metrics: Option<Arc<Catalogue>>,
    /// Only metadata and health, nothing else (api.md §1).
    public: bool,
    invoke_allowed: bool,
}

impl HttpApi {
    pub fn new(api: Arc<Api>, options: Options, metrics: Option<Arc<Catalogue>>) -> Self {
        let router = Router::new(TABLE.iter().filter(|r| allowed(&options.access, r)));
        let invoke_allowed = options.access.allows_http("invoke", "v1", "v1.0/invoke");
        Self { api, router, options, metrics, public: false, invoke_allowed }
    }

    /// The public port: metadata and health without a token.
    pub fn public(api: Arc<Api>, mut options: Options, metrics: Option<Arc<Catalogue>>) -> Self {
        options.token = None;
        options.cors = None;
        options.api_log = None;
        options.pipeline = Pipeline::default();
        options.max_body = None;
        let router = Router::new(TABLE.iter().filter(|r| r.public && allowed(&options.access, r)));
        Self { api, router, options, metrics, public: true, invoke_allowed: false }
    }

    /// All that needs no waiting.
    fn begin(&self, request: Request<Incoming>, peer: Peer) -> Running<'_> {
        let (mut parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target + header_bytes(&parts.headers) > self.options.max_header + HEADER_SLACK {
            return self.refused(reply::text(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "431 Request Header Fields Too Large",
            ));
        }
        let path = parts.uri.path();
        if path.contains('%') && path_unescape(path).is_err() {
            return self.refused(reply::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
        }
        let origin = self.options.cors.as_ref().and_then(|_| parts.headers.get(ORIGIN).cloned());
        let mut traced = match spans::begin(&self.api.tracer, &mut parts, peer) {
            Ok(traced) => traced,
            Err(refusal) => return self.refused(refusal),
        };
        let (path, uncleaned) = cleaned(&parts.uri);
        let mut call = Call {
            method: parts.method,
            path,
            uncleaned,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            params: Params::default(),
            body: Body::from_incoming(body).limited(self.options.max_body),
            peer,
        };
        if let Some(cors) = &self.options.cors
            && Cors::is_preflight(&call.method, &call.headers)
        {
            return self.refused(cors.preflight(&call.headers));
        }
        let (way, measured) = match self.authorize(&mut call) {
            Err(refusal) => (Way::Refused(Box::new(refusal)), None),
            Ok(()) => {
                let measured = self.metrics.is_some().then(|| Measured::new(&call));
                match self.options.pipeline.chain() {
                    None => (Way::Straight(self.route(call, &mut traced)), measured),
                    // Boxed: most sidecars have no middleware.
                    Some(chain) => (Way::Through(Box::new(Some((chain, call)))), measured),
                }
            }
        };
        Running { api: self, way, rest: Some(Rest { traced, measured, origin }) }
    }

    /// An answer that nothing is added to.
    fn refused(&self, response: Response<Body>) -> Running<'_> {
        Running { api: self, way: Way::Refused(Box::new(response)), rest: None }
    }

    fn authorize(&self, call: &mut Call) -> Result<(), Response<Body>> {
        let Some(token) = &self.options.token else { return Ok(()) };
        let open = call.method == http::Method::GET
            && matches!(&*call.path, "/v1.0/healthz" | "/v1.0/healthz/outbound");
        let given = call.headers.remove(TOKEN);
        let matches = given.is_some_and(|g| dapr_security::api_token::matches(token, g.as_bytes()));
        if open || matches { Ok(()) } else { Err(reply::text(StatusCode::UNAUTHORIZED, "invalid api token")) }
    }

    pub(super) fn route(&self, mut call: Call, traced: &mut Traced) -> Routed {
        let found = match self.router.find(&call.method, &call.path) {
            Ok(found) => found,
            Err(bad) => {
                let text = format!(
                    "failed to unescape request parameter {}. Error: {}",
                    dapr_gocompat::quote::quote(bad.name),
                    bad.reason
                );
                return Routed::to(reply::text(StatusCode::BAD_REQUEST, text));
            }
        };
        let log = self.log_line(&call, found.as_ref().map(|(r, _)| *r));
        let answer = match found {
            Some((route, params)) => {
                traced.routed(route, &params, &call);
                call.params = params;
                (route.handler)(self.api.clone(), call)
            }
            None if self.invoke_allowed && !self.public => invoke::fallback(&self.api, call, traced),
            None if self.router.knows(&call.path) => {
                return Routed::to(reply::status(StatusCode::METHOD_NOT_ALLOWED));
            }
            None => return Routed::to(reply::text(StatusCode::NOT_FOUND, "404 page not found\n")),
        };
        Routed { answer, log }
    }

    fn log_line(&self, call: &Call, route: Option<&'static Route>) -> Option<Box<LogLine>> {
        let log = self.options.api_log?;
        if log.omit_health_checks && call.path.contains("/healthz") {
            return None;
        }
        let method = if log.obfuscate_urls {
            route.map_or_else(|| invoked_service(call), |r| r.name.to_owned())
        } else {
            format!("{} {}", call.method, &*call.path)
        };
        let user_agent =
            call.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Some(Box::new(LogLine { method, user_agent, started: Instant::now() }))
    }
}

/// A call of another application as an obfuscated log names it.
fn invoked_service(call: &Call) -> String {
    let in_path = call.path.trim_start_matches('/').strip_prefix("v1.0/invoke/");
    let app = match in_path {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => call.header("dapr-app-id").unwrap_or_default(),
    };
    format!("InvokeService/{app}")
}

struct LogLine {
    method: String,
    user_agent: String,
    started: Instant,
}

impl LogLine {
    fn write(&self, response: &Response<Body>) {
        let elapsed = self.started.elapsed();
        let size = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
        tracing::info!(
            target: "dapr.runtime.http-info",
            method = self.method,
            useragent = self.user_agent,
            code = response.status().as_u16(),
            size,
            duration = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "HTTP API Called"
        );
    }
}

/// A request under way: what its future holds, which is small because the call
/// itself is in the route's.
struct Running<'a> {
    api: &'a HttpApi,
    way: Way,
    /// `None` when the answer stays as it is.
    rest: Option<Rest>,
}

enum Way {
    Refused(Box<Response<Body>>),
    Straight(Routed),
    /// Through middleware; `None` once it began.
    Through(Box<Option<(Arc<Chain>, Call)>>),
}

/// What is done with the answer.
struct Rest {
    traced: Traced,
    measured: Option<Measured>,
    origin: Option<HeaderValue>,
}

impl Running<'_> {
    async fn answer(&mut self) -> Response<Body> {
        match &mut self.way {
            Way::Refused(response) => std::mem::take(response),
            Way::Straight(routed) => routed.answer().await,
            Way::Through(through) => match (through.take(), &mut self.rest) {
                (Some((chain, call)), Some(rest)) => {
                    Box::pin(pipeline::run(self.api, &chain, call, &mut rest.traced)).await
                }
                _ => reply::status(StatusCode::INTERNAL_SERVER_ERROR),
            },
        }
    }

    fn end(&mut self, response: &mut Response<Body>) {
        let Some(Rest { traced, measured, origin }) = self.rest.take() else { return };
        if let (Some(metrics), Some(measured)) = (&self.api.metrics, measured) {
            measured.record(metrics, response);
        }
        traced.end(response);
        if let Some(cors) = &self.api.options.cors {
            cors.decorate(origin.as_ref(), response.headers_mut());
        }
    }
}

/// A request that has found its handler.
pub(super) struct Routed {
    answer: Answer,
    log: Option<Box<LogLine>>,
}

impl Routed {
    fn to(response: Response<Body>) -> Self {
        Self { answer: Box::pin(std::future::ready(response)), log: None }
    }

    pub(super) async fn answer(&mut self) -> Response<Body> {
        let response = self.answer.as_mut().await;
        if let Some(line) = self.log.take() {
            line.write(&response);
        }
        response
    }
}

/// What the metrics of a request need to know of it.
struct Measured {
    method: Method,
    path: Path,
    request_bytes: u64,
    started: Instant,
}

impl Measured {
    fn new(call: &Call) -> Self {
        Self {
            method: call.method.clone(),
            path: call.path.clone(),
            request_bytes: call.body.length().unwrap_or(0),
            started: Instant::now(),
        }
    }

    fn record(&self, metrics: &Catalogue, response: &Response<Body>) {
        if let Some(errors) = &metrics.errors
            && let Some(counted) = response.extensions().get::<reply::Counted>()
        {
            errors.record(counted.category, &counted.code);
        }
        let status = response.status().as_u16();
        let size = response.body().length().unwrap_or(0);
        let (method, elapsed) = (self.method.as_str(), self.started.elapsed());
        metrics.http_server.record(method, &self.path, status, elapsed, self.request_bytes, size);
    }
}

impl Service for HttpApi {
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Body>> + Send {
        // Begun before there is a future: what only the beginning needs takes
        // no room in it.
        let mut running = self.begin(request, peer);
        async move {
            let mut response = running.answer().await;
            running.end(&mut response);
            response
        }
    }
}

fn allowed(access: &ApiAccess, route: &Route) -> bool {
    route.open || access.allows_http(route.group, route.version, route.pattern)
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum()
}

/// The cleaned path, and the path as it was if cleaning changed it: a method
/// that leads out of its place is still a method (api.md §7.3).
pub(super) fn cleaned(uri: &Uri) -> (Path, Option<String>) {
    match (clean(uri.path()), uri.path_and_query()) {
        (None, Some(target)) => (Path::AsAsked(target.clone()), None),
        (None, None) => (Path::Cleaned(uri.path().into()), None),
        (Some(path), _) => (Path::Cleaned(path.into()), Some(uri.path().to_owned())),
    }
}

/// `path.Clean` on the escaped path; `None`, as for the usual path, when that
/// changes nothing.
fn clean(escaped: &str) -> Option<String> {
    let needs = escaped.contains("//")
        || (escaped.len() > 1 && escaped.ends_with('/'))
        || escaped.split('/').any(|s| s == "." || s == "..")
        || !escaped.starts_with('/');
    needs.then(|| path::clean(&format!("/{escaped}"))).filter(|path| path != escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_while_escaped() {
        let clean = |path| super::clean(path).unwrap_or_else(|| "as asked".to_owned());
        assert_eq!(clean("/a"), "as asked");
        assert_eq!(clean("/a//b/"), "/a/b");
        assert_eq!(clean("/a/../b"), "/b");
        assert_eq!(clean("/a/%2e%2e/b"), "as asked");
        assert_eq!(clean("/"), "as asked");
    }

    fn size_of_future<'a, F>(_: impl FnOnce(&'a HttpApi, Request<Incoming>, Peer) -> F) -> usize {
        size_of::<F>()
    }

    /// Every request allocates its future: up to 1 KiB that is cheap. Once it
    /// held those of all that a request may lead to, 12 KiB.
    #[test]
    fn the_future_of_a_request_stays_small() {
        let size = size_of_future(<HttpApi as Service>::call);
        assert!(size <= 1024, "{size} bytes");
    }
}
