//! Redirects of HTTPEndpoint targets, followed as Go's HTTP client does it
//! (api.md §7.9). Redirects of URL targets and applications are answers.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use dapr_security::tls::{self, ClientTls};
use dapr_transport::Body;
use dapr_transport::client::{ClientError, Http1Options, Http1Pool};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use parking_lot::Mutex;
use url::Url;

use super::external::{DIAL_TIMEOUT, MAX_HOSTS};

/// The first call included; Go's text counts the redirect that is not followed.
const MAX_CALLS: usize = 10;
/// How much of a redirect's own body is read so that its connection stays.
const BODY_LIMIT: u64 = 2 << 10;
/// Not for other hosts.
const SENSITIVE: [HeaderName; 5] =
    [AUTHORIZATION, WWW_AUTHENTICATE, COOKIE, PROXY_AUTHORIZATION, PROXY_AUTHENTICATE];

/// Opens connections with the TLS settings of one endpoint.
pub(super) struct Dialer {
    tls: ClientTls,
    connector: Mutex<Option<tls::Connector>>,
    tasks: TaskGroup,
}

impl Dialer {
    pub(super) fn new(tls: ClientTls, tasks: TaskGroup) -> Self {
        let tls = ClientTls { alpn: vec![b"http/1.1".to_vec()], ..tls };
        Self { tls, connector: Mutex::default(), tasks }
    }

    /// Connections to one host.
    pub(super) fn pool(&self, secure: bool, host: &str, port: u16) -> Result<Http1Pool, String> {
        let mut destination = Destination::tcp(format!("{host}:{port}"), DIAL_TIMEOUT);
        if secure {
            destination = destination.wrapped(self.wrapper(host)?);
        }
        Ok(Http1Pool::new(destination, Http1Options::default(), self.tasks.clone()))
    }

    fn wrapper(&self, host: &str) -> Result<Wrapper, String> {
        let mut connector = self.connector.lock();
        let connector = match &*connector {
            Some(connector) => connector.clone(),
            None => {
                let config = tls::client_config(&self.tls).map_err(|e| e.to_string())?;
                connector.insert(tls::Connector::new(config)).clone()
            }
        };
        let host: Arc<str> = host.into();
        Ok(Arc::new(move |stream| {
            let (connector, host) = (connector.clone(), host.clone());
            Box::pin(async move {
                let stream = connector.connect(&host, stream).await.map_err(io::Error::other)?;
                Ok(Box::new(stream) as BoxStream)
            })
        }))
    }
}

/// What follows the redirects of one endpoint.
pub(super) struct Follower {
    base: Url,
    dialer: Dialer,
    /// By origin.
    pools: Mutex<HashMap<String, Http1Pool>>,
}

impl Follower {
    pub(super) fn new(base: Url, dialer: Dialer) -> Self {
        Self { base, dialer, pools: Mutex::default() }
    }

    /// Makes a call with `send`, and those that its answers ask for.
    pub(super) async fn call<F, Fut>(
        &self,
        request: Request<Body>,
        send: F,
    ) -> Result<Response<Body>, ClientError>
    where
        F: FnOnce(Request<Body>) -> Fut,
        Fut: Future<Output = Result<Response<Body>, ClientError>>,
    {
        let here = self.base.join(&request.uri().to_string()).unwrap_or_else(|_| self.base.clone());
        let next = Next {
            asked: request.method().clone(),
            verb: request.method().clone(),
            headers: request.headers().clone(),
            bodiless: request.body().length() == Some(0),
            first: here.clone(),
            here,
        };
        let response = send(request).await?;
        // Hardly any answer is one.
        if response.status().is_redirection() { self.follow(next, response).await } else { Ok(response) }
    }

    async fn follow(&self, mut next: Next, first: Response<Body>) -> Result<Response<Body>, ClientError> {
        let mut response = first;
        for _ in 1..MAX_CALLS {
            let Some(location) = next.wants(&response) else { return Ok(response) };
            let location = next.turn(location, response.status())?;
            response.into_body().drain(BODY_LIMIT).await;
            let pool = self.pool(&location).map_err(|e| next.failed(location.as_str(), e))?;
            let request = next.request().map_err(|e| next.failed(location.as_str(), e))?;
            response = pool.send(request).await.map_err(|e| next.failed(location.as_str(), e))?;
        }
        match next.wants(&response) {
            None => Ok(response),
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                Err(next.failed(&location, format_args!("stopped after {MAX_CALLS} redirects")))
            }
        }
    }

    fn pool(&self, url: &Url) -> Result<Http1Pool, String> {
        let origin = url.origin().ascii_serialization();
        if let Some(pool) = self.pools.lock().get(&origin) {
            return Ok(pool.clone());
        }
        let host = url.host_str().ok_or_else(|| format!("{url} has no host"))?;
        let secure = url.scheme() == "https";
        let port = url.port_or_known_default().unwrap_or(if secure { 443 } else { 80 });
        let pool = self.dialer.pool(secure, host, port)?;
        let mut pools = self.pools.lock();
        if pools.len() >= MAX_HOSTS {
            pools.clear();
        }
        pools.insert(origin, pool.clone());
        Ok(pool)
    }
}

/// The request that the next redirect would make.
struct Next {
    /// What the caller asked for.
    asked: Method,
    verb: Method,
    headers: HeaderMap,
    /// Whether the request can be repeated: a body has been sent and is gone.
    bodiless: bool,
    first: Url,
    here: Url,
}

impl Next {
    /// Where an answer leads, if it does.
    fn wants<'a>(&self, response: &'a Response<Body>) -> Option<&'a HeaderValue> {
        let follows = match response.status().as_u16() {
            301..=303 => true,
            307 | 308 => self.bodiless,
            _ => false,
        };
        response.headers().get(LOCATION).filter(|location| follows && !location.is_empty())
    }

    /// Becomes the request to `location`.
    fn turn(&mut self, location: &HeaderValue, status: StatusCode) -> Result<Url, ClientError> {
        let text = String::from_utf8_lossy(location.as_bytes());
        let target = self.here.join(&text).map_err(|e| {
            let reason = format_args!("failed to parse Location header {text:?}: {e}");
            self.failed(self.here.as_str(), reason)
        })?;
        if !matches!(target.scheme(), "http" | "https") {
            let reason = format_args!("unsupported protocol scheme {:?}", target.scheme());
            return Err(self.failed(target.as_str(), reason));
        }
        if matches!(status.as_u16(), 301..=303) {
            if !matches!(self.verb, Method::GET | Method::HEAD) {
                self.verb = Method::GET;
            }
            self.bodiless = true;
            for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
                self.headers.remove(name);
            }
        }
        if !is_same_or_below(&self.first, &target) {
            SENSITIVE.iter().for_each(|name| drop(self.headers.remove(name)));
        }
        self.headers.remove(REFERER);
        if !(self.here.scheme() == "https" && target.scheme() == "http") {
            let mut referer = self.here.clone();
            let _ = referer.set_username("");
            let _ = referer.set_password(None);
            referer.set_fragment(None);
            if let Ok(value) = HeaderValue::try_from(referer.as_str()) {
                self.headers.insert(REFERER, value);
            }
        }
        self.here = target.clone();
        Ok(target)
    }

    fn request(&self) -> Result<Request<Body>, String> {
        let (mut parts, ()) = Request::new(()).into_parts();
        let request::Parts { method, uri, headers, .. } = &mut parts;
        *method = self.verb.clone();
        let path = &self.here[url::Position::BeforePath..url::Position::AfterQuery];
        *uri = path.parse::<Uri>().map_err(|e| format!("redirect to {}: {e}", self.here))?;
        *headers = self.headers.clone();
        let authority = &self.here[url::Position::BeforeHost..url::Position::AfterPort];
        headers.insert(HOST, HeaderValue::try_from(authority).map_err(|e| e.to_string())?);
        Ok(Request::from_parts(parts, Body::empty()))
    }

    /// As Go's client words its errors: `Get "<url>": <reason>`.
    fn failed(&self, url: &str, reason: impl Display) -> ClientError {
        let (first, rest) = self.asked.as_str().split_at(1);
        ClientError::Broken(format!("{first}{} {url:?}: {reason}", rest.to_lowercase()).into())
    }
}

/// Whether secrets for the host of `first` may go to that of `target`.
fn is_same_or_below(first: &Url, target: &Url) -> bool {
    let (Some(first), Some(target)) = (first.host_str(), target.host_str()) else { return false };
    first == target || target.strip_suffix(first).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(verb: Method, bodiless: bool) -> Next {
        let here = Url::parse("https://a.test:8443/x/y?q=1").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("secret"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Next { asked: verb.clone(), verb, headers, bodiless, first: here.clone(), here }
    }

    fn answer(status: u16, location: &'static str) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
        response
    }

    fn turned(mut next: Next, status: u16, location: &'static str) -> Request<Body> {
        let response = answer(status, location);
        next.turn(next.wants(&response).unwrap(), response.status()).unwrap();
        next.request().unwrap()
    }

    #[test]
    fn a_post_becomes_a_get_without_its_body() {
        let request = turned(next(Method::POST, false), 302, "../z?r=2");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "/z?r=2"));
        assert_eq!(request.headers()[HOST], "a.test:8443");
        assert_eq!(request.headers()[REFERER], "https://a.test:8443/x/y?q=1");
        assert!(
            request.headers().contains_key(AUTHORIZATION) && !request.headers().contains_key(CONTENT_TYPE)
        );
        assert_eq!(turned(next(Method::HEAD, true), 303, "/z").method(), Method::HEAD);
    }

    #[test]
    fn what_asks_for_the_same_request_is_followed_without_a_body_only() {
        assert!(next(Method::POST, false).wants(&answer(307, "/z")).is_none());
        assert_eq!(turned(next(Method::PUT, true), 308, "/z").method(), Method::PUT);
        assert!(next(Method::GET, true).wants(&answer(304, "/z")).is_none());
        assert!(next(Method::GET, true).wants(&answer(302, "")).is_none());
    }

    #[test]
    fn secrets_stay_with_their_host() {
        let is_told =
            |location| turned(next(Method::GET, true), 302, location).headers().contains_key(AUTHORIZATION);
        assert!(is_told("https://a.test/z") && is_told("https://b.a.test/z"));
        assert!(!is_told("https://test/z") && !is_told("https://ba.test/z"));
        assert!(!turned(next(Method::GET, true), 302, "http://a.test/z").headers().contains_key(REFERER));
    }
}
