//! One HTTP API that is posted to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_components::InitError;
use dapr_components::conversation::Error;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::tls::{self, ClientTls};
use dapr_transport::Body;
use dapr_transport::client::{Http1Options, Http1Pool};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};

/// For the name, the connection and the TLS handshake together. An answer may
/// take as long as it wants: resiliency policies limit it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const MAX_ANSWER: u64 = 32 << 20;

pub(crate) struct Endpoint {
    pool: Http1Pool,
    uri: Uri,
    headers: HeaderMap,
}

impl Endpoint {
    /// `url` is all of it; `headers` go with every request.
    pub fn new(url: &str, headers: &[(&'static str, &str)], tasks: TaskGroup) -> Result<Self, InitError> {
        let wrong = |reason: &str| InitError::new(format!("endpoint {url:?} cannot be called: {reason}"));
        let uri: Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(&e.to_string()))?;
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?.to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it has to begin with http:// or https://")),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut destination = Destination::tcp(format!("{host}:{port}"), DIAL_TIMEOUT);
        if secure {
            destination = destination.wrapped(encrypted(host)?);
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?.as_str();
        let mut all = HeaderMap::new();
        all.insert(HOST, HeaderValue::from_str(authority).map_err(|e| wrong(&e.to_string()))?);
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(USER_AGENT, HeaderValue::from_static("dapr"));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                InitError::new("metadata property 'key' holds characters that a header cannot")
            })?;
            value.set_sensitive(true);
            all.insert(HeaderName::from_static(name), value);
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let uri = Uri::try_from(path).map_err(|e| wrong(&e.to_string()))?;
        Ok(Self { pool: Http1Pool::new(destination, Http1Options::default(), tasks), uri, headers: all })
    }

    /// Posts `question` and decodes the answer.
    pub async fn post<A: for<'a> Deserialize<'a>>(&self, question: &impl Serialize) -> Result<A, Error> {
        let body = serde_json::to_vec(question).map_err(|e| Error::new(e.to_string()))?;
        let mut request = Request::new(Body::from(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let unreachable =
            |e: &dyn std::fmt::Display| Error::new(format!("network error: failed to reach API server: {e}"));
        let response = self.pool.send(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body =
            response.into_body().limited(Some(MAX_ANSWER)).collect().await.map_err(|e| unreachable(&e))?;
        if status != StatusCode::OK {
            return Err(Error::new(refusal(status, &body)));
        }
        serde_json::from_slice(&body)
            .map_err(|e| Error::new(format!("the API server's answer cannot be read: {e}")))
    }
}

fn encrypted(host: String) -> Result<Wrapper, InitError> {
    let options = ClientTls { alpn: vec![b"http/1.1".to_vec()], ..ClientTls::default() };
    let config = tls::client_config(&options).map_err(|e| InitError::new(e.to_string()))?;
    let (connector, host) = (tls::Connector::new(config), Arc::<str>::from(host));
    Ok(Arc::new(move |stream| {
        let (connector, host) = (connector.clone(), host.clone());
        Box::pin(async move {
            let stream = connector.connect(&host, stream).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }))
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    error: RefusalText,
}

#[derive(Default, Deserialize)]
struct RefusalText {
    #[serde(default)]
    message: String,
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = format!("API returned unexpected status code: {}", status.as_u16());
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => format!("{text}: {}", refusal.error.message),
        Err(_) => text,
    }
}
