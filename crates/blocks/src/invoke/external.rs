//! Targets outside the mesh: HTTPEndpoint resources and URLs (api.md §7.9).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_app_channel::{ConcurrencyLimit, InvokeRequest, InvokeResponse};
use dapr_components::middleware::{Answer, Endpoint as PipelineEnd, Next, Pipeline, Scheme};
use dapr_errors::Code;
use dapr_kernel::tasks::TaskGroup;
use dapr_resources::HttpEndpoint;
use dapr_security::tls::{ClientTls, NativeRoots};
use dapr_transport::Body;
use dapr_transport::client::{ClientError, Http1Pool};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use parking_lot::RwLock;

use super::redirects::{Dialer, Follower};
use super::service::InvokeError;

/// Patience for connecting and for the TLS handshake together.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Hosts that connections are kept for; more evict all.
pub(super) const MAX_HOSTS: usize = 256;

/// One base URL that can be called.
#[derive(Clone)]
pub struct Endpoint {
    /// Path of the base URL without a trailing slash.
    base_path: Arc<str>,
    host: HeaderValue,
    /// Override what the caller sends.
    headers: HeaderMap,
    pool: Http1Pool,
    scheme: Scheme,
    pipeline: Pipeline,
    /// Named endpoints follow redirects, URLs do not.
    redirects: Option<Arc<Follower>>,
    limit: ConcurrencyLimit,
}

#[derive(Clone, Copy)]
enum Target {
    Named,
    Url,
}

/// Endpoints by name, and clients for URLs made on first use.
pub struct External {
    named: RwLock<HashMap<String, Result<Endpoint, String>>>,
    urls: RwLock<HashMap<String, Endpoint>>,
    roots: NativeRoots,
    tasks: TaskGroup,
    pipeline: RwLock<Pipeline>,
    /// Calls at once; each named endpoint has a limit of its own.
    max_concurrency: Option<usize>,
    /// All URLs share one.
    url_limit: ConcurrencyLimit,
}

impl External {
    pub fn new(max_concurrency: Option<usize>, tasks: TaskGroup) -> Self {
        Self {
            named: RwLock::default(),
            urls: RwLock::default(),
            roots: NativeRoots::default(),
            tasks,
            pipeline: RwLock::default(),
            max_concurrency,
            url_limit: ConcurrencyLimit::new(max_concurrency),
        }
    }

    /// What calls go through; counts for endpoints that are set later.
    pub fn set_pipeline(&self, pipeline: Pipeline) {
        *self.pipeline.write() = pipeline;
    }

    pub fn pipeline(&self) -> Pipeline {
        self.pipeline.read().clone()
    }

    pub fn set_endpoints(&self, endpoints: Vec<HttpEndpoint>) {
        let built = endpoints.into_iter().map(|e| (e.name.clone(), self.build(e))).collect();
        *self.named.write() = built;
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.named.read().contains_key(name)
    }

    /// The endpoint resource of that name.
    pub fn named(&self, name: &str) -> Option<Result<Endpoint, String>> {
        self.named.read().get(name).cloned()
    }

    /// A client for a URL target.
    pub fn url(&self, url: &str) -> Result<Endpoint, String> {
        if let Some(endpoint) = self.urls.read().get(url) {
            return Ok(endpoint.clone());
        }
        let endpoint = self.connect(url, HeaderMap::new(), ClientTls::default(), Target::Url)?;
        let mut urls = self.urls.write();
        if urls.len() >= MAX_HOSTS {
            urls.clear();
        }
        urls.insert(url.to_owned(), endpoint.clone());
        Ok(endpoint)
    }

    fn build(&self, endpoint: HttpEndpoint) -> Result<Endpoint, String> {
        let mut headers = HeaderMap::new();
        for item in &endpoint.headers {
            let name = HeaderName::try_from(item.name.as_str()).map_err(|_| {
                format!("header name {:?} of HTTPEndpoint {} is not valid", item.name, endpoint.name)
            })?;
            let value = HeaderValue::try_from(item.value.text()).map_err(|_| {
                format!("value of header {name} of HTTPEndpoint {} is not valid", endpoint.name)
            })?;
            headers.insert(name, value);
        }
        let text = |d: &Option<dapr_resources::metadata::TlsDocument>| {
            d.as_ref().and_then(|d| d.value.as_ref()).map(|v| v.text()).filter(|t| !t.is_empty())
        };
        let tls = endpoint.client_tls.as_ref().map_or_else(ClientTls::default, |t| ClientTls {
            root_ca_pem: text(&t.root_ca),
            cert_pem: text(&t.certificate),
            key_pem: text(&t.private_key),
            ..ClientTls::default()
        });
        self.connect(&endpoint.base_url, headers, tls, Target::Named)
            .map_err(|e| format!("HTTPEndpoint {}: {e}", endpoint.name))
    }

    fn connect(
        &self,
        base: &str,
        headers: HeaderMap,
        tls: ClientTls,
        target: Target,
    ) -> Result<Endpoint, String> {
        let uri: Uri = base.parse().map_err(|e| format!("{base:?} is not a valid URL: {e}"))?;
        let host = uri.host().ok_or_else(|| format!("{base:?} has no host"))?.to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let dialer = Dialer::new(ClientTls { native_roots: self.roots.clone(), ..tls }, self.tasks.clone());
        let pool = dialer.pool(secure, &host, port)?;
        let (redirects, limit) = match target {
            Target::Named => (
                url::Url::parse(base).ok().map(|url| Arc::new(Follower::new(url, dialer))),
                ConcurrencyLimit::new(self.max_concurrency),
            ),
            Target::Url => (None, self.url_limit.clone()),
        };
        let authority = uri.authority().map_or(host, ToString::to_string);
        Ok(Endpoint {
            base_path: uri.path().trim_end_matches('/').into(),
            host: HeaderValue::try_from(authority).map_err(|e| e.to_string())?,
            headers,
            scheme: Scheme(if secure { "https" } else { "http" }),
            pipeline: self.pipeline(),
            pool,
            redirects,
            limit,
        })
    }
}

impl Endpoint {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        request.headers_mut().insert(HOST, self.host.clone());
        match &self.redirects {
            None => self.pool.send(request).await,
            Some(redirects) => redirects.call(request, |request| self.pool.send(request)).await,
        }
    }

    /// Calls `<base>/<method>?<query>`. The concurrency slot is held until the
    /// answer's body has been read.
    pub async fn call(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let fail = |text: String| InvokeError::new(Code::Internal, text);
        let path = dapr_app_channel::request_uri(
            &format!("{}/{}", self.base_path.trim_start_matches('/'), request.method.trim_start_matches('/')),
            &request.query,
        )
        .map_err(|e| fail(e.to_string()))?;
        let mut out = Request::new(request.body);
        *out.uri_mut() = path;
        *out.method_mut() = request.verb;
        *out.headers_mut() = request.headers;
        if let Some(content_type) = request.content_type {
            out.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        for (name, value) in &self.headers {
            out.headers_mut().insert(name.clone(), value.clone());
        }
        let slot = self.limit.slot().await;
        let response = match self.pipeline.chain() {
            None => self.send(out).await.map_err(Into::into),
            Some(chain) => {
                out.extensions_mut().insert(self.scheme);
                Box::pin(Next::new(&chain, self).run(out)).await
            }
        };
        let response = response.map_err(|e| fail(e.to_string()))?;
        let (parts, mut body) = response.into_parts();
        if let Some(slot) = slot {
            body = body.guarded(slot);
        }
        Ok(InvokeResponse::from_http(parts, body))
    }
}

#[async_trait]
impl PipelineEnd for Endpoint {
    async fn call(&self, request: Request<Body>) -> Answer {
        let mut response = self.send(request).await?;
        response.headers_mut().remove(CONTENT_LENGTH);
        Ok(response)
    }
}
