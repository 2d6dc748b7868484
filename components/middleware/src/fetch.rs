//! Whole answers of HTTP servers.

use std::time::Duration;

use bytes::Bytes;
use dapr_http_binding::{Call, Client};
use dapr_transport::Body;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

/// Larger answers are cut short; what is asked for here is a few kilobytes.
const MAX_ANSWER: u64 = 1 << 20;

pub struct Fetched {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Sends a request and reads its answer, both within `patience`.
pub async fn fetch(client: &Client, call: Call, patience: Duration) -> Result<Fetched, String> {
    let fetching = async {
        let (head, body) = client.send(call).await?.into_parts();
        let body = Body::from_incoming(body).limited(Some(MAX_ANSWER)).collect().await;
        let body = body.map_err(|e| format!("failed to read response body: {e}"))?;
        Ok(Fetched { status: head.status, headers: head.headers, body })
    };
    match tokio::time::timeout(patience, fetching).await {
        Ok(fetched) => fetched,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

pub fn get(url: &str) -> Result<Call, String> {
    let url = Url::parse(url).map_err(|e| format!("failed to create request: invalid URL {url:?}: {e}"))?;
    Ok(Call { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() })
}
