//! Asking a server for a key set.

use std::time::Duration;

use bytes::Bytes;
use dapr_security::keys::KeySet;
use dapr_security::tls::{ClientTls, client_config};
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longest set that is read.
const MAX_LENGTH: usize = 4 << 20;

pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
    timeout: Duration,
}

impl Fetcher {
    pub fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let url = url.parse().map_err(|e| format!("failed to register JWKS cache: {e}"))?;
        let tls = client_config(&ClientTls::default()).map_err(|e| e.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .build();
        // Asked minutes apart: no connection is kept.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, url, timeout })
    }

    pub async fn fetch(&self) -> Result<KeySet, String> {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer from '{}' within {:?}", self.url, self.timeout)),
        }
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot read '{}': {e}", self.url);
        let response = self.client.get(self.url.clone()).await.map_err(|e| failed(&e))?;
        if !response.status().is_success() {
            return Err(failed(&format_args!("the server answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_LENGTH).collect().await.map_err(|e| failed(&e))?;
        KeySet::parse(&body.to_bytes()).map_err(|e| failed(&e))
    }
}
