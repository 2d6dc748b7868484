//! Requests to the API server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::tls::{self, ClientTls, Connector};
use dapr_transport::Body;
use dapr_transport::client::{Http1Options, Http1Pool};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Auth, ClusterConfig};

/// Time for one request that is no watch, and for a connection.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Largest answer, and largest object of a watch.
pub(crate) const BODY_LIMIT: usize = 64 << 20;
/// Connections: a watch holds one for as long as it lasts.
const MAX_CONNECTIONS: usize = 64;
const JSON: &str = "application/json";

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the Kubernetes API client cannot be set up: {0}")]
    Setup(String),
    #[error("{0}")]
    Connect(String),
    #[error("the Kubernetes API did not answer {0} in time")]
    Timeout(String),
    /// The server's refusal; `message` is what it says.
    #[error("{message}")]
    Status { code: StatusCode, message: String },
    #[error("the answer to {path} cannot be read: {problem}")]
    Answer { path: String, problem: String },
}

impl ApiError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: StatusCode::NOT_FOUND, .. })
    }

    /// What the server no longer remembers: a watch has to start over.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Status { code: StatusCode::GONE, .. })
    }
}

/// A client of one cluster. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Http1Pool,
    host: HeaderValue,
    base: String,
    auth: Auth,
}

impl Client {
    /// Reads the files that `config` names; connects when it is used.
    pub fn new(config: &ClusterConfig, tasks: TaskGroup) -> Result<Self, ApiError> {
        let setup = |problem: String| ApiError::Setup(problem);
        let server = &config.server;
        let host = server.host_str().ok_or_else(|| setup(format!("'{server}' has no host")))?;
        let port = server.port_or_known_default().unwrap_or(443);
        let mut destination = Destination::tcp(format!("{host}:{port}"), REQUEST_LIMIT);
        if server.scheme() == "https" {
            let name = config.tls_server_name.as_deref().unwrap_or(host);
            destination = destination.wrapped(wrapper(&config.tls, name).map_err(setup)?);
        }
        let options = Http1Options { max_connections: MAX_CONNECTIONS, ..Http1Options::default() };
        Ok(Self(Arc::new(Inner {
            pool: Http1Pool::new(destination, options, tasks),
            host: HeaderValue::try_from(format!("{host}:{port}")).map_err(|e| setup(e.to_string()))?,
            base: server.path().trim_end_matches('/').to_owned(),
            auth: config.auth.clone(),
        })))
    }

    /// The object at `path`, such as `/api/v1/namespaces/a/secrets/b`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Replaces the object at `path`.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, object: &impl Serialize) -> Result<T, ApiError> {
        self.call(Method::PUT, path, encode(path, object)?).await
    }

    /// Creates an object below `path`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        object: &impl Serialize,
    ) -> Result<T, ApiError> {
        self.call(Method::POST, path, encode(path, object)?).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ApiError> {
        let call = async {
            let response = self.send(method, path, body).await?;
            let bytes = collect(path, response).await?;
            serde_json::from_slice(&bytes)
                .map_err(|e| ApiError::Answer { path: path.to_owned(), problem: e.to_string() })
        };
        match tokio::time::timeout(REQUEST_LIMIT, call).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::Timeout(path.to_owned())),
        }
    }

    /// The body of a watch, once the server has agreed to it.
    pub(crate) async fn open(&self, path: &str) -> Result<Body, ApiError> {
        match tokio::time::timeout(REQUEST_LIMIT, self.send(Method::GET, path, Bytes::new())).await {
            Ok(response) => Ok(response?.into_body()),
            Err(_) => Err(ApiError::Timeout(path.to_owned())),
        }
    }

    /// Sends a request; every answer but a success is an error.
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Body>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.base))
            .header(HOST, self.0.host.clone())
            .header(ACCEPT, JSON);
        if !body.is_empty() {
            // Exactly this, without parameters: it is asserted (control-plane.md §3.4).
            request = request.header(CONTENT_TYPE, JSON);
        }
        if let Some(value) = self.authorization()? {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Body::from(body)).map_err(|e| ApiError::Setup(e.to_string()))?;
        let response = self.0.pool.send(request).await.map_err(|e| ApiError::Connect(e.to_string()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let body = collect(path, response).await.unwrap_or_default();
        Err(ApiError::Status { code, message: refusal(code, &body) })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, ApiError> {
        let text = match &self.0.auth {
            Auth::None => return Ok(None),
            Auth::Token(token) => format!("Bearer {token}"),
            Auth::TokenFile(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|e| ApiError::Setup(format!("cannot read {}: {e}", path.display())))?;
                format!("Bearer {}", token.trim())
            }
            Auth::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| ApiError::Setup("the token holds characters that no header may".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn wrapper(options: &ClientTls, name: &str) -> Result<Wrapper, String> {
    let connector = Connector::new(tls::client_config(options).map_err(|e| e.to_string())?);
    let name: Arc<str> = name.into();
    Ok(Arc::new(move |stream| {
        let (connector, name) = (connector.clone(), name.clone());
        Box::pin(async move {
            let stream = connector.connect(&name, stream).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }))
}

fn encode(path: &str, object: &impl Serialize) -> Result<Bytes, ApiError> {
    let problem =
        |e: serde_json::Error| ApiError::Setup(format!("cannot encode what is sent to {path}: {e}"));
    serde_json::to_vec(object).map(Bytes::from).map_err(problem)
}

async fn collect(path: &str, response: Response<Body>) -> Result<Bytes, ApiError> {
    let body = http_body_util::Limited::new(response.into_body(), BODY_LIMIT);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) => Err(ApiError::Answer { path: path.to_owned(), problem: e.to_string() }),
    }
}

/// The message of a `Status` object, or the HTTP status.
fn refusal(code: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => format!("the server answered {code}"),
    }
}
