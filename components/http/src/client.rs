//! A pooled HTTP client that follows redirects.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, LOCATION, REFERER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use url::Url;

use crate::tls::TlsSettings;

const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const MAX_IDLE_PER_HOST: usize = 32;
const MAX_REDIRECTS: usize = 10;

/// Not passed on to another host.
const SENSITIVE: [HeaderName; 3] = [AUTHORIZATION, WWW_AUTHENTICATE, COOKIE];

type Plain = Pool<HttpConnector, Full<Bytes>>;
type Secure = Pool<Timed<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Connections to any host, kept while they are of use.
pub struct Client {
    plain: Plain,
    /// Built at the first `https` call.
    secure: OnceCell<Secure>,
    tls: TlsSettings,
}

/// A request that can be sent again.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    pub(crate) fn new(tls: TlsSettings) -> Self {
        let mut tcp = connector();
        tcp.enforce_http(true);
        let plain = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .http1_title_case_headers(true)
            .build(tcp);
        Self { plain, secure: OnceCell::new(), tls }
    }

    /// A client that trusts the roots of the system.
    pub fn with_system_roots() -> Self {
        Self::new(TlsSettings::default())
    }

    /// The response of the last request of a chain of redirects. An error reads
    /// `Post "http://...": reason`.
    pub async fn send(&self, mut call: Call) -> Result<Response<Incoming>, String> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&call).await?;
            match redirect(&call, &response) {
                Some(Ok(next)) => call = next,
                Some(Err(reason)) => return Err(failed(&call, &reason)),
                None => return Ok(response),
            }
        }
        Err(failed(&call, &format!("stopped after {MAX_REDIRECTS} redirects")))
    }

    async fn send_once(&self, call: &Call) -> Result<Response<Incoming>, String> {
        let uri: Uri = call.url.as_str().parse().map_err(|e| failed(call, &format!("invalid URL: {e}")))?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers.clone();
        let sent = match call.url.scheme() {
            "http" => self.plain.request(request).await,
            "https" => self.secure(call).await?.request(request).await,
            other => return Err(failed(call, &format!("unsupported protocol scheme \"{other}\""))),
        };
        sent.map_err(|error| failed(call, &cause(&call.url, &error)))
    }

    async fn secure(&self, call: &Call) -> Result<&Secure, String> {
        let build = async || {
            let config = self.tls.config().map_err(|e| e.to_string())?;
            let mut tcp = connector();
            tcp.enforce_http(false);
            let https = HttpsConnectorBuilder::new()
                .with_tls_config(config)
                .https_only()
                .enable_all_versions()
                .wrap_connector(tcp);
            Ok(Pool::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
                .http1_title_case_headers(true)
                .build(Timed(https)))
        };
        self.secure.get_or_try_init(build).await.map_err(|e: String| failed(call, &e))
    }
}

fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(DIAL_TIMEOUT));
    tcp.set_nodelay(true);
    tcp
}

/// Bounds connecting and the TLS handshake together.
#[derive(Clone)]
struct Timed<C>(C);

impl<C> tower_service::Service<Uri> for Timed<C>
where
    C: tower_service::Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = C::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(DIAL_TIMEOUT + TLS_HANDSHAKE_TIMEOUT, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err("net/http: TLS handshake timeout".into()),
            }
        })
    }
}

/// What to send next, if the response says so.
fn redirect(call: &Call, response: &Response<Incoming>) -> Option<Result<Call, String>> {
    let keeps_method = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return None,
    };
    let location = response.headers().get(LOCATION)?;
    let target = String::from_utf8_lossy(location.as_bytes());
    let url = match call.url.join(&target) {
        Ok(url) => url,
        Err(e) => return Some(Err(format!("failed to parse Location header \"{target}\": {e}"))),
    };
    let mut next = Call { url, ..call.clone() };
    if !keeps_method {
        if call.method != Method::HEAD {
            next.method = Method::GET;
        }
        next.body = Bytes::new();
    }
    if !is_same_or_below(&call.url, &next.url) {
        for name in SENSITIVE {
            next.headers.remove(name);
        }
    }
    let downgraded = call.url.scheme() == "https" && next.url.scheme() == "http";
    if !downgraded && let Ok(referer) = HeaderValue::from_str(&without_password(&call.url)) {
        next.headers.insert(REFERER, referer);
    }
    Some(Ok(next))
}

fn is_same_or_below(from: &Url, to: &Url) -> bool {
    match (from.host_str(), to.host_str()) {
        (Some(from), Some(to)) => to == from || to.strip_suffix(from).is_some_and(|rest| rest.ends_with('.')),
        _ => false,
    }
}

fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.into()
}

/// `Post "http://...": reason`, as callers know it.
pub(crate) fn failed(call: &Call, reason: &str) -> String {
    failed_text(&call.method, &without_password(&call.url), reason)
}

pub(crate) fn failed_text(method: &Method, url: &str, reason: &str) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{} \"{url}\": {reason}", rest.to_ascii_lowercase())
}

fn cause(url: &Url, error: &hyper_util::client::legacy::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let refused = root
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
    if error.is_connect() && refused {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        return format!("dial tcp {host}:{port}: connect: connection refused");
    }
    match error.source() {
        Some(source) if source.to_string() != root.to_string() => format!("{error}: {source}: {root}"),
        _ => format!("{error}: {root}"),
    }
}
