//! Calls of the agent's HTTP API.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use dapr_security::tls;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use crate::settings::{Client, Query, Settings};

/// Longest wait for an answer that is not held back on purpose.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the agent holds back an answer to a blocking query.
const WAIT: Duration = Duration::from_secs(300);
/// The agent adds up to a sixteenth of the wait.
const WAIT_SLACK: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 16 << 20;

/// One instance of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    pub(crate) service: Service,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Node {
    pub(crate) address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Service {
    pub(crate) address: String,
    pub(crate) meta: Option<std::collections::HashMap<String, String>>,
}

pub(crate) struct Agent {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    client: Client,
    query: Query,
}

impl Agent {
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let config = tls::client_config(&settings.client.tls).map_err(|e| e.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*config).clone())
            .https_or_http()
            .enable_http1()
            .build();
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(Self { pool, client: settings.client.clone(), query: settings.query.clone() })
    }

    pub(crate) async fn register(&self, registration: &Value) -> Result<(), String> {
        let body = Bytes::from(registration.to_string());
        self.send(Method::PUT, "/v1/agent/service/register", &[], body, TIMEOUT).await.map(drop)
    }

    pub(crate) async fn deregister(&self, id: &str) -> Result<(), String> {
        let path = format!("/v1/agent/service/deregister/{}", escape(id));
        self.send(Method::PUT, &path, &[], Bytes::new(), TIMEOUT).await.map(drop)
    }

    /// Whether there is an agent.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.send(Method::GET, "/v1/agent/self", &[], Bytes::new(), TIMEOUT).await.map(drop)
    }

    /// Instances that pass their checks.
    pub(crate) async fn healthy(&self, service: &str) -> Result<Vec<Entry>, String> {
        let mut parameters = self.query.parameters.clone();
        parameters.push(("passing", "1".to_owned()));
        if self.query.cached {
            parameters.push(("cached", String::new()));
        }
        Ok(self.instances(service, &parameters, TIMEOUT).await?.0)
    }

    /// The same once there is something newer than `index`, and its own index.
    pub(crate) async fn newer(&self, service: &str, index: u64) -> Result<(Vec<Entry>, u64), String> {
        let waits = [self.query.wait, self.client.wait, WAIT];
        let wait = waits.into_iter().find(|wait| !wait.is_zero()).unwrap_or(WAIT);
        let mut parameters = self.query.parameters.clone();
        parameters.push(("passing", "1".to_owned()));
        parameters.push(("index", index.to_string()));
        parameters.push(("wait", format!("{}ms", wait.as_millis())));
        self.instances(service, &parameters, wait.saturating_add(WAIT_SLACK)).await
    }

    async fn instances(
        &self,
        service: &str,
        parameters: &[(&'static str, String)],
        limit: Duration,
    ) -> Result<(Vec<Entry>, u64), String> {
        let path = format!("/v1/health/service/{}", escape(service));
        let (body, index) = self.send(Method::GET, &path, parameters, Bytes::new(), limit).await?;
        let entries = serde_json::from_slice(&body).map_err(|e| format!("unexpected answer: {e}"))?;
        Ok((entries, index))
    }

    /// Body and index of a successful answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&'static str, String)],
        body: Bytes,
        limit: Duration,
    ) -> Result<(Bytes, u64), String> {
        let request = self.request(method, path, parameters, body)?;
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|e| causes(&e))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| e.to_string())?.to_bytes();
            if !head.status.is_success() {
                let text = String::from_utf8_lossy(&body);
                return Err(format!("Unexpected response code: {} ({text})", head.status.as_u16()));
            }
            let index =
                head.headers.get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
            Ok((body, index.unwrap_or(0)))
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer from {} within {limit:?}", self.client.base)))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut uri = format!("{}{path}", self.client.base);
        let own = (!self.client.datacenter.is_empty() && parameters.iter().all(|(name, _)| *name != "dc"))
            .then(|| ("dc", self.client.datacenter.clone()));
        for (index, (name, value)) in parameters.iter().chain(&own).enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            if !value.is_empty() {
                uri.push('=');
                uri.push_str(&escape(value));
            }
        }
        let mut request = Request::builder().method(method).uri(uri);
        let token = if self.query.token.is_empty() { &self.client.token } else { &self.query.token };
        if !token.is_empty() {
            request = request.header("x-consul-token", token);
        }
        if !self.query.cache_control.is_empty() {
            request = request.header(CACHE_CONTROL, &self.query.cache_control);
        }
        if let Some((user, password)) = &self.client.login {
            let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            request = request.header(AUTHORIZATION, format!("Basic {login}"));
        }
        request.body(Full::new(body)).map_err(|e| format!("{}: {e}", self.client.base))
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An error with its causes: the first only says that there was one.
fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}
