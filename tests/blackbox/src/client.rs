use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

/// No request of these tests takes longer unless something hangs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Plain HTTP towards one port of this machine.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A response whose body has been read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {:?}", self.status, self.text()))
    }

    /// Panics with the whole answer unless its status is `status`.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "headers {:?}, body {:?}", self.headers, self.text());
        self
    }
}

impl Client {
    pub fn new(port: u16) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, base: format!("http://127.0.0.1:{port}") }
    }

    /// Sends a request and hands back the response as soon as its head is
    /// here; `path` starts with a slash.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        Ok(timeout(REQUEST_TIMEOUT, self.pool.request(request)).await??)
    }

    /// Sends a request and reads the whole response.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let (head, body) = self.open(method, path, headers, body).await?.into_parts();
        let body = timeout(REQUEST_TIMEOUT, body.collect()).await??.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], json.to_string()).await
    }

    /// Like [`Client::try_send`]; a request without an answer is a failed test.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method.clone(), path, headers, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }
}
