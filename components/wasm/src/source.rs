//! Where a guest comes from.

use std::time::Duration;

use bytes::Bytes;
use dapr_http_binding::{Call, Client};
use dapr_transport::Body;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

/// Patience with a server that has the guest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Larger guests are refused.
const MAX_GUEST: u64 = 256 << 20;

/// Loads a guest from `file://`, `http://` or `https://`.
pub async fn load(url: &str) -> Result<Bytes, String> {
    if url.is_empty() {
        return Err("missing url".to_owned());
    }
    let (scheme, _) = url.split_once(':').ok_or_else(|| format!("invalid URL: {url}"))?;
    match scheme {
        "file" => {
            let path = url.strip_prefix("file://").ok_or_else(|| format!("invalid URL: {url}"))?;
            tokio::fs::read(path).await.map(Bytes::from).map_err(|e| format!("open {path}: {e}"))
        }
        "http" | "https" => match tokio::time::timeout(PATIENCE, download(url)).await {
            Ok(loaded) => loaded,
            Err(_) => Err(format!("no answer from \"{url}\" within {} s", PATIENCE.as_secs())),
        },
        // Reserved for images, which nobody has built yet.
        "oci" => Err("TODO oci".to_owned()),
        other => Err(format!("unsupported URL scheme: {other}")),
    }
}

async fn download(url: &str) -> Result<Bytes, String> {
    let parsed = Url::parse(url).map_err(|e| format!("invalid URL: {url}: {e}"))?;
    let call = Call { method: Method::GET, url: parsed, headers: HeaderMap::new(), body: Bytes::new() };
    let (head, body) = Client::with_system_roots().send(call).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("received {} status code from \"{url}\"", head.status.as_u16()));
    }
    Body::from_incoming(body).limited(Some(MAX_GUEST)).collect().await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_loaded_says_why() {
        for (url, expected) in [
            ("", "missing url"),
            ("guest.wasm", "invalid URL: guest.wasm"),
            ("file:x", "invalid URL: file:x"),
            ("oci://x", "TODO oci"),
            ("ftp://x", "unsupported URL scheme: ftp"),
        ] {
            assert_eq!(load(url).await, Err(expected.to_owned()));
        }
        let missing = load("file:///nowhere/guest.wasm").await.unwrap_err();
        assert!(missing.starts_with("open /nowhere/guest.wasm: No such file"), "{missing}");
    }
}
