use std::borrow::Cow;
use std::fmt::Write;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use dapr_components::middleware::{Answer, Endpoint, Next, Pipeline, Scheme};
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::Body;
use dapr_transport::client::{ClientError, H2Channel, H2Options, Http1Options, Http1Pool};
use dapr_transport::connect::Destination;
use futures::FutureExt;
use futures::future::Either;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{ChannelError, InvokeRequest, InvokeResponse, Options, Origin, Protocol};

/// Header that carries `APP_API_TOKEN`.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("dapr-api-token");

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What an application receives where no trace came in (runtime.md §18.1).
pub(crate) const ZERO_TRACEPARENT: HeaderValue =
    HeaderValue::from_static("00-00000000000000000000000000000000-0000000000000000-00");

/// What a URL path must escape, in the set that Go's URL type leaves alone.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An application that speaks HTTP.
#[derive(Debug)]
pub struct HttpChannel {
    client: Client,
    host: HeaderValue,
    token: Option<HeaderValue>,
    metrics: Option<Arc<Catalogue>>,
    pipeline: Pipeline,
    scheme: Scheme,
    zero_trace: bool,
}

#[derive(Debug)]
enum Client {
    Http1(Http1Pool),
    H2c(H2Channel),
}

impl HttpChannel {
    pub(crate) fn new(destination: Destination, options: &Options, tasks: TaskGroup) -> Self {
        let zero_trace = options.zero_trace;
        let host = HeaderValue::from_str(&destination.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let token = options.token.as_deref().and_then(sensitive);
        let client = match options.protocol {
            Protocol::H2c => {
                let limit = u32::try_from(options.max_response_head).unwrap_or(u32::MAX);
                Client::H2c(H2Channel::new(destination, false, H2Options::app(limit), tasks))
            }
            _ => {
                let pool =
                    Http1Options { max_response_head: options.max_response_head, ..Http1Options::default() };
                Client::Http1(Http1Pool::new(destination, pool, tasks))
            }
        };
        let scheme = Scheme(if options.protocol.is_tls() { "https" } else { "http" });
        let (metrics, pipeline) = (options.metrics.clone(), options.pipeline.clone());
        Self { client, host, token, metrics, pipeline, scheme, zero_trace }
    }

    /// Sends a request with an origin-form URI through the application's
    /// pipeline; adds the application's token.
    ///
    /// Neither this nor what it calls is an async fn: each would hold the
    /// request once more.
    pub fn send(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ClientError>> + Send + use<'_> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(TOKEN_HEADER, token.clone());
        }
        let measured = self.metrics.as_deref().map(|metrics| Measured::start(metrics, &request));
        self.send_through(request).inspect(move |answer| {
            if let Some(measured) = measured {
                measured.end(answer);
            }
        })
    }

    /// Most sidecars have no middleware: for them nothing is boxed or copied.
    fn send_through(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ClientError>> + Send + use<'_> {
        let Some(chain) = self.pipeline.chain() else {
            return Either::Left(self.send_untokened(request));
        };
        request.extensions_mut().insert(self.scheme);
        Either::Right(Box::pin(async move {
            Next::new(&chain, self).run(request).await.map_err(|error| {
                match error.downcast::<ClientError>() {
                    Ok(error) => *error,
                    Err(error) => ClientError::Broken(error),
                }
            })
        }))
    }

    /// Sends without token and middleware: health probes.
    pub fn send_untokened(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ClientError>> + Send + use<'_> {
        match &self.client {
            Client::Http1(pool) => {
                request.headers_mut().insert(header::HOST, self.host.clone());
                Either::Left(pool.send(request))
            }
            Client::H2c(channel) => Either::Right(channel.send(request)),
        }
    }

    pub(crate) fn invoke(
        &self,
        request: InvokeRequest,
    ) -> impl Future<Output = Result<InvokeResponse, ChannelError>> + Send + use<'_> {
        match to_http(request, self.zero_trace) {
            Ok(request) => Either::Left(self.send(request).map(|answer| Ok(to_answer(answer?)))),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

fn to_answer(response: Response<Body>) -> InvokeResponse {
    let (parts, mut body) = response.into_parts();
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        body = body.forgiving();
    }
    InvokeResponse::from_http(parts, body)
}

/// A call whose beginning the metrics know.
struct Measured<'a> {
    metrics: &'a Catalogue,
    // Both are shared with the request, not copied.
    verb: Method,
    uri: Uri,
    started: Instant,
}

impl<'a> Measured<'a> {
    fn start(metrics: &'a Catalogue, request: &Request<Body>) -> Self {
        let (verb, uri) = (request.method().clone(), request.uri().clone());
        metrics.http_client.started(verb.as_str(), uri.path(), request.body().length().unwrap_or(0));
        Self { metrics, verb, uri, started: Instant::now() }
    }

    fn end(self, answer: &Result<Response<Body>, ClientError>) {
        let (status, received) = match answer {
            Ok(response) => (response.status(), response.body().length().unwrap_or(0)),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, 0),
        };
        let (verb, path, took) = (self.verb.as_str(), self.uri.path(), self.started.elapsed());
        self.metrics.http_client.completed(verb, path, status.as_u16(), received, took);
    }
}

#[async_trait]
impl Endpoint for HttpChannel {
    async fn call(&self, request: Request<Body>) -> Answer {
        let mut response = self.send_untokened(request).await?;
        // A middleware may change the body, and applications announce lengths
        // that they do not keep.
        if response.headers_mut().remove(header::CONTENT_LENGTH).is_some() {
            return Ok(response.map(Body::forgiving));
        }
        Ok(response)
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|v| !v.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

fn to_http(request: InvokeRequest, zero_trace: bool) -> Result<Request<Body>, ChannelError> {
    let mut out = Request::new(request.body);
    *out.uri_mut() = request_uri(&request.method, &request.query)?;
    if request.verb == Method::CONNECT {
        return Err(ChannelError::Invalid("invalid HTTP verb".to_owned()));
    }
    *out.method_mut() = request.verb;
    *out.headers_mut() = match request.origin {
        Origin::Http => request.headers,
        Origin::Grpc => from_grpc_metadata(request.headers),
    };
    if let Some(content_type) = request.content_type {
        out.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    if zero_trace {
        out.headers_mut().entry(TRACEPARENT).or_insert(ZERO_TRACEPARENT);
    }
    Ok(out)
}

/// gRPC metadata that means nothing to, or would mislead, an HTTP server.
fn from_grpc_metadata(mut headers: HeaderMap) -> HeaderMap {
    for name in
        [header::HOST, header::TE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION]
    {
        headers.remove(name);
    }
    headers
}

/// `/<method>?<query>`, escaped as Go's URL type would. A `%` that does not
/// begin an escape is refused (api.md §7.3).
pub fn request_uri(method: &str, query: &str) -> Result<Uri, ChannelError> {
    let decoded = match method.contains('%') {
        true => Cow::Owned(dapr_gocompat::urlesc::path_unescape(method).map_err(|e| {
            ChannelError::Invalid(format!("parse {}: {e}", dapr_gocompat::quote::quote(method)))
        })?),
        false => Cow::Borrowed(method),
    };
    let query_len = if query.is_empty() { 0 } else { 1 + query.len() };
    let mut text = String::with_capacity(1 + method.len() + query_len);
    text.push('/');
    // A method that is a valid escaped path stays as it is; otherwise it is
    // escaped anew.
    if decoded != method && is_valid_path(method) {
        text.push_str(method.trim_start_matches('/'));
    } else {
        let _ = write!(text, "{}", utf8_percent_encode(decoded.trim_start_matches('/'), PATH));
    }
    if !query.is_empty() {
        text.push('?');
        text.push_str(query);
    }
    Uri::try_from(text).map_err(|e| ChannelError::Invalid(format!("cannot build the application's URL: {e}")))
}

fn is_valid_path(path: &str) -> bool {
    path.bytes().all(|b| {
        b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_become_paths() {
        let uri = |m, q| request_uri(m, q).map(|u| u.to_string()).map_err(|e| e.to_string());
        assert_eq!(uri("a/b c", ""), Ok("/a/b%20c".to_owned()));
        assert_eq!(uri("a", "x=1&y=%20"), Ok("/a?x=1&y=%20".to_owned()));
        assert_eq!(uri("ü", ""), Ok("/%C3%BC".to_owned()));
        assert_eq!(uri("a%20b", ""), Ok("/a%20b".to_owned()));
        assert!(uri("50%", "").unwrap_err().contains("invalid URL escape"));
    }
}
