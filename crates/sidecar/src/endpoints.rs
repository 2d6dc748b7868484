//! HTTPEndpoint resources: external services that are invoked by name.

use dapr_blocks::secrets::SecretsService;
use dapr_resources::HttpEndpoint;
use dapr_resources::loader::{LoadContext, load_http_endpoints};
use dapr_resources::template::ProcessEnv;

use crate::options::Options;
use crate::processor::fetch_secrets;

const SCOPE: &str = "dapr.runtime";

/// Endpoints with secrets and environment references in place.
pub async fn load(options: &Options, context: &LoadContext, secrets: &SecretsService) -> Vec<HttpEndpoint> {
    tracing::info!(target: SCOPE, "Loading endpoints…");
    let loaded = match load_http_endpoints(&options.resource_dirs, context) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::warn!(target: SCOPE, "failed to load HTTP endpoints: {error}");
            return Vec::new();
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let mut endpoints = Vec::with_capacity(loaded.resources.len());
    for mut endpoint in loaded.resources {
        tracing::info!(target: SCOPE, "Found http endpoint: {}", endpoint.name);
        for refusal in endpoint.apply_env(&ProcessEnv) {
            tracing::warn!(target: SCOPE, "{refusal}");
        }
        let fetched = fetch_secrets(secrets, &endpoint.auth_secret_store, &endpoint.secret_refs()).await;
        endpoints.push(endpoint.with_secrets(|r| fetched.get(&(r.secret.clone(), r.key.clone())).cloned()));
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding http endpoints to be processed…");
    tracing::info!(target: SCOPE, "All outstanding http endpoints processed");
    endpoints
}
