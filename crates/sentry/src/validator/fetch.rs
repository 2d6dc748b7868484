//! Fetching a document over HTTP or HTTPS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::tls::{self, ClientTls, Connector};
use dapr_transport::Body;
use dapr_transport::client::{Http1Options, Http1Pool};
use dapr_transport::connect::{BoxStream, Destination};
use http::header::{ACCEPT, CACHE_CONTROL, HOST, LOCATION};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Limited};
use url::Url;

/// Largest document.
const DOCUMENT_LIMIT: usize = 1 << 20;
const MAX_REDIRECTS: usize = 10;

/// A document, and how long it may be kept.
#[derive(Debug)]
pub struct Document {
    pub body: Bytes,
    pub max_age: Option<Duration>,
}

/// Follows redirects. The caller sets the time limit.
pub async fn get(url: &str, tls: &ClientTls, tasks: &TaskGroup) -> Result<Document, String> {
    let mut url = Url::parse(url).map_err(|e| format!("'{url}' is not a valid URL: {e}"))?;
    for _ in 0..=MAX_REDIRECTS {
        let response = send(&url, tls, tasks).await?;
        let (parts, body) = response.into_parts();
        if parts.status.is_redirection()
            && let Some(location) = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok())
        {
            let next = url.join(location).map_err(|e| format!("redirect to '{location}': {e}"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(format!("{url} redirects to {next}, which is not encrypted"));
            }
            url = next;
            continue;
        }
        if !parts.status.is_success() {
            return Err(format!("{url} answered {}", parts.status));
        }
        let body = Limited::new(body, DOCUMENT_LIMIT).collect().await.map_err(|e| format!("{url}: {e}"))?;
        return Ok(Document { body: body.to_bytes(), max_age: max_age(&parts.headers) });
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

async fn send(url: &Url, tls: &ClientTls, tasks: &TaskGroup) -> Result<http::Response<Body>, String> {
    let host = url.host_str().ok_or_else(|| format!("{url} has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| format!("{url} has no port"))?;
    let mut destination = Destination::tcp(format!("{host}:{port}"), Duration::from_secs(30));
    match url.scheme() {
        "http" => {}
        "https" => {
            let connector = Connector::new(tls::client_config(tls).map_err(|e| e.to_string())?);
            let host: Arc<str> = host.into();
            destination = destination.wrapped(Arc::new(move |stream| {
                let (connector, host) = (connector.clone(), host.clone());
                Box::pin(async move {
                    let stream = connector.connect(&host, stream).await.map_err(io::Error::other)?;
                    Ok(Box::new(stream) as BoxStream)
                })
            }));
        }
        other => return Err(format!("{url}: scheme '{other}' is not supported")),
    }
    // One request an hour or less: nothing is kept open for the next.
    let options = Http1Options { max_connections: 1, max_idle: 0, ..Http1Options::default() };
    let pool = Http1Pool::new(destination, options, tasks.clone());
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
        .header(ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|e| format!("{url}: {e}"))?;
    pool.send(request).await.map_err(|e| format!("{url}: {e}"))
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let control = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
