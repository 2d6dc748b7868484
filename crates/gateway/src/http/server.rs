use std::sync::Arc;
use std::time::Instant;

use crate::ApiAccess;
use dapr_components::middleware::Pipeline;
use dapr_gocompat::path;
use dapr_gocompat::urlesc::path_unescape;
use dapr_kernel::AppIdentity;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use http::header::{HeaderName, ORIGIN, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::call::{Call, Params};
use super::cors::Cors;
use super::router::Router;
use super::routes::{Route, TABLE};
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

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target + header_bytes(&parts.headers) > self.options.max_header + HEADER_SLACK {
            return reply::text(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "431 Request Header Fields Too Large",
            );
        }
        let path = parts.uri.path();
        if path.contains('%') && path_unescape(path).is_err() {
            return reply::text(StatusCode::BAD_REQUEST, "400 Bad Request");
        }
        let origin = self.options.cors.as_ref().and_then(|_| parts.headers.get(ORIGIN).cloned());
        let mut traced = match spans::begin(&self.api.tracer, &mut parts, peer) {
            Ok(traced) => traced,
            Err(refusal) => return refusal,
        };
        let (path, uncleaned) = cleaned(parts.uri.path());
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
            return cors.preflight(&call.headers);
        }
        let mut response = match self.authorize(&mut call) {
            Ok(()) => self.dispatch(call, &mut traced).await,
            Err(refusal) => refusal,
        };
        traced.end(&mut response);
        if let Some(cors) = &self.options.cors {
            cors.decorate(origin.as_ref(), response.headers_mut());
        }
        response
    }

    fn authorize(&self, call: &mut Call) -> Result<(), Response<Body>> {
        let Some(token) = &self.options.token else { return Ok(()) };
        let open = call.method == http::Method::GET
            && matches!(call.path.as_str(), "/v1.0/healthz" | "/v1.0/healthz/outbound");
        let given = call.headers.remove(TOKEN);
        let matches = given.is_some_and(|g| dapr_security::api_token::matches(token, g.as_bytes()));
        if open || matches { Ok(()) } else { Err(reply::text(StatusCode::UNAUTHORIZED, "invalid api token")) }
    }

    /// Through the pipeline, if there is one, to the route; measured as a whole.
    async fn dispatch(&self, call: Call, traced: &mut Traced) -> Response<Body> {
        let started = Instant::now();
        let (method, path) = (call.method.clone(), self.metrics.is_some().then(|| call.path.clone()));
        let request_bytes = http_body::Body::size_hint(&call.body).exact().unwrap_or(0);
        let response = match self.options.pipeline.chain() {
            None => self.route(call, traced).await,
            Some(chain) => Box::pin(pipeline::run(self, &chain, call, traced)).await,
        };
        if let (Some(metrics), Some(path)) = (&self.metrics, path) {
            if let Some(errors) = &metrics.errors
                && let Some(counted) = response.extensions().get::<reply::Counted>()
            {
                errors.record(counted.category, &counted.code);
            }
            let status = response.status().as_u16();
            let size = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
            let elapsed = started.elapsed();
            metrics.http_server.record(method.as_str(), &path, status, elapsed, request_bytes, size);
        }
        response
    }

    pub(super) async fn route(&self, mut call: Call, traced: &mut Traced) -> Response<Body> {
        let started = Instant::now();
        let found = match self.router.find(&call.method, &call.path) {
            Ok(found) => found,
            Err(bad) => {
                let text = format!(
                    "failed to unescape request parameter {}. Error: {}",
                    dapr_gocompat::quote::quote(bad.name),
                    bad.reason
                );
                return reply::text(StatusCode::BAD_REQUEST, text);
            }
        };
        let log = self.log_line(&call, found.as_ref().map(|(r, _)| *r));
        let response = match found {
            Some((route, params)) => {
                traced.routed(route, &params, &call);
                call.params = params;
                (route.handler)(self.api.clone(), call).await
            }
            None if self.invoke_allowed && !self.public => invoke::fallback(&self.api, call).await,
            None if self.router.knows(&call.path) => return reply::status(StatusCode::METHOD_NOT_ALLOWED),
            None => return reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
        if let Some(line) = log {
            line.write(&response, started.elapsed());
        }
        response
    }

    fn log_line(&self, call: &Call, route: Option<&'static Route>) -> Option<LogLine> {
        let log = self.options.api_log?;
        if log.omit_health_checks && call.path.contains("/healthz") {
            return None;
        }
        let method = if log.obfuscate_urls {
            route.map_or_else(|| invoked_service(call), |r| r.name.to_owned())
        } else {
            format!("{} {}", call.method, call.path)
        };
        let user_agent =
            call.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Some(LogLine { method, user_agent })
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
}

impl LogLine {
    fn write(&self, response: &Response<Body>, elapsed: std::time::Duration) {
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

impl Service for HttpApi {
    async fn call(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        self.answer(request, peer).await
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
pub(super) fn cleaned(escaped: &str) -> (String, Option<String>) {
    let path = clean(escaped);
    let uncleaned = (escaped != path).then(|| escaped.to_owned());
    (path, uncleaned)
}

/// `path.Clean` on the escaped path; the usual path needs nothing.
fn clean(escaped: &str) -> String {
    let needs = escaped.contains("//")
        || (escaped.len() > 1 && escaped.ends_with('/'))
        || escaped.split('/').any(|s| s == "." || s == "..")
        || !escaped.starts_with('/');
    if needs { path::clean(&format!("/{escaped}")) } else { escaped.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_while_escaped() {
        assert_eq!(clean("/a"), "/a");
        assert_eq!(clean("/a//b/"), "/a/b");
        assert_eq!(clean("/a/../b"), "/b");
        assert_eq!(clean("/a/%2e%2e/b"), "/a/%2e%2e/b");
        assert_eq!(clean("/"), "/");
    }
}
