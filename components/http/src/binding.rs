use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use dapr_components::bindings::{InvokeError, InvokeRequest, InvokeResponse, OutputBinding, RequestMetadata};
use dapr_components::{InitError, Properties};
use dapr_gocompat::{bools, header, http_status};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, RANGE,
    TRAILER, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::body;
use crate::client::{Call, Client, failed_text};
use crate::tls::TlsSettings;

const OPERATIONS: &[&str] = &["create", "get", "head", "post", "put", "patch", "delete", "options", "trace"];
const DEFAULT_MAX_BODY: i64 = 100 << 20;
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const DEFAULT_USER_AGENT: HeaderValue = HeaderValue::from_static("Go-http-client/1.1");
/// Metadata in lower case that goes out as a header all the same.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

pub struct HttpBinding {
    client: Client,
    url: String,
    response_timeout: Option<Duration>,
    /// `None`: no limit.
    max_body: Option<usize>,
    /// Name and value of the header with the security token.
    token: Option<(HeaderName, HeaderValue)>,
    error_if_not_2xx: bool,
}

impl HttpBinding {
    /// Connects to nothing; a missing `url` shows at the first call.
    pub async fn new(properties: &Properties) -> Result<Self, InitError> {
        let text = |name: &str| properties.get(name).filter(|v| !v.is_empty());
        let token = match (text("securityTokenHeader"), text("securityToken")) {
            (Some(name), Some(token)) => Some(header_of(name, token).map_err(InitError::new)?),
            _ => None,
        };
        let max_body = properties.byte_size("maxResponseBodySize")?.unwrap_or(DEFAULT_MAX_BODY);
        Ok(Self {
            client: Client::new(TlsSettings::parse(properties).await?),
            url: properties.get("url").unwrap_or_default().to_owned(),
            response_timeout: properties.duration("responseTimeout")?.filter(|t| !t.is_zero()),
            max_body: usize::try_from(max_body).ok().filter(|n| *n > 0),
            token,
            error_if_not_2xx: properties
                .get_exact("errorIfNot2XX")
                .filter(|v| !v.is_empty())
                .is_none_or(bools::is_truthy),
        })
    }

    fn call(&self, request: &InvokeRequest) -> Result<Call, String> {
        let method = match request.operation.to_uppercase().as_str() {
            "CREATE" | "POST" => Method::POST,
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            "OPTIONS" => Method::OPTIONS,
            "TRACE" => Method::TRACE,
            _ => return Err(format!("invalid operation: {}", request.operation)),
        };
        let has_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let target = self.target(&request.metadata);
        let url = parse_url(&target).map_err(|reason| failed_text(&method, &target, &reason))?;
        let headers = self.headers(&request.metadata, &url, has_body, method == Method::HEAD)?;
        let body = if has_body { request.data.clone() } else { Bytes::new() };
        Ok(Call { method, url, headers, body })
    }

    fn target(&self, metadata: &RequestMetadata) -> String {
        match metadata.get("path").filter(|path| !path.is_empty()) {
            Some(path) => {
                format!("{}/{}", self.url.trim_end_matches('/'), path.trim_start_matches('/'))
            }
            None => self.url.clone(),
        }
    }

    fn headers(
        &self,
        metadata: &RequestMetadata,
        url: &Url,
        has_body: bool,
        is_head: bool,
    ) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        if has_body {
            headers.insert(CONTENT_TYPE, JSON);
        }
        headers.insert(ACCEPT, JSON);
        headers.insert(USER_AGENT, DEFAULT_USER_AGENT);
        if let Some((name, token)) = &self.token {
            headers.insert(name.clone(), token.clone());
        }
        for (name, value) in metadata.iter().filter(|(name, _)| starts_with_capital(name)) {
            let (name, value) = header_of(name, value)?;
            // The transport decides on these.
            if ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER].contains(&name) {
                headers.insert(name, value);
            }
        }
        for name in TRACE_HEADERS {
            let Some(value) = metadata.get(name).filter(|value| !value.is_empty()) else { continue };
            let (key, value) = header_of(name, value)?;
            if headers.insert(key, value).is_some() {
                tracing::warn!(
                    target: "dapr.contrib",
                    "Tracing is enabled. A custom {} request header cannot be specified and is ignored.",
                    header::canonical_key(name)
                );
            }
        }
        if !url.username().is_empty() && !headers.contains_key(AUTHORIZATION) {
            let login = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            let login = base64::engine::general_purpose::STANDARD.encode(login);
            let (name, value) = header_of("Authorization", &format!("Basic {login}"))?;
            headers.insert(name, value);
        }
        if !is_head && !headers.contains_key(ACCEPT_ENCODING) && !headers.contains_key(RANGE) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(headers)
    }

    async fn exchange(&self, call: Call, unpack: bool) -> Result<(u16, InvokeResponse), String> {
        let mut response = self.client.send(call).await?;
        let gzip = unpack
            && response
                .headers()
                .get(CONTENT_ENCODING)
                .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        if gzip {
            response.headers_mut().remove(CONTENT_ENCODING);
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let status = response.status().as_u16();
        let metadata = response_metadata(&response);
        let data = body::read(response.into_body(), gzip, self.max_body).await?;
        Ok((status, InvokeResponse { data: Some(data), metadata, content_type: None }))
    }
}

#[async_trait]
impl OutputBinding for HttpBinding {
    fn operations(&self) -> &[&str] {
        OPERATIONS
    }

    async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let call = self.call(&request).map_err(InvokeError::new)?;
        let (method, url) = (call.method.clone(), call.url.to_string());
        // Packed content that the caller did not ask for is ours to unpack.
        let asked = request.metadata.keys().any(|key| key.eq_ignore_ascii_case("accept-encoding"));
        let unpack = !asked && call.headers.get(ACCEPT_ENCODING).is_some();
        let exchange = self.exchange(call, unpack);
        let outcome = match self.response_timeout {
            None => exchange.await,
            Some(limit) => tokio::time::timeout(limit, exchange)
                .await
                .unwrap_or_else(|_| Err(failed_text(&method, &url, "context deadline exceeded"))),
        };
        let (status, response) = outcome.map_err(InvokeError::new)?;
        let must_succeed = match request.metadata.get("errorIfNot2XX").filter(|v| !v.is_empty()) {
            Some(word) => bools::is_truthy(word),
            None => self.error_if_not_2xx,
        };
        if must_succeed && status / 100 != 2 {
            let message = format!("received status code {status}");
            return Err(InvokeError { message, response });
        }
        Ok(response)
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(url),
        Ok(url) => Err(format!("unsupported protocol scheme \"{}\"", url.scheme())),
        Err(url::ParseError::RelativeUrlWithoutBase) => Err("unsupported protocol scheme \"\"".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn starts_with_capital(name: &str) -> bool {
    name.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
}

fn header_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let key = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("net/http: invalid header field name \"{name}\""))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("net/http: invalid header field value for \"{name}\""))?;
    Ok((key, value))
}

/// Status and every header; several values of one name are joined.
fn response_metadata<B>(response: &http::Response<B>) -> RequestMetadata {
    let mut metadata = RequestMetadata::with_capacity(response.headers().len() + 2);
    for name in response.headers().keys() {
        if *name == TRANSFER_ENCODING || *name == TRAILER {
            continue;
        }
        let values = response.headers().get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        metadata.insert(header::canonical_key(name.as_str()), values.join(", "));
    }
    let code = response.status().as_u16();
    let status = match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => format!("{code} {}", String::from_utf8_lossy(phrase.as_bytes())),
        None => http_status::status_line(code),
    };
    metadata.insert("statusCode".to_owned(), code.to_string());
    metadata.insert("status".to_owned(), status);
    metadata
}

#[cfg(test)]
mod tests;
