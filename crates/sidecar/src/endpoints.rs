//! HTTPEndpoint resources: external services that are invoked by name.

use dapr_blocks::secrets::SecretsService;
use dapr_resources::HttpEndpoint;
use dapr_resources::template::ProcessEnv;

use crate::source::Source;

const SCOPE: &str = "dapr.runtime";

/// Endpoints with secrets and environment references in place.
pub async fn load(source: &mut Source, secrets: &SecretsService) -> Vec<HttpEndpoint> {
    tracing::info!(target: SCOPE, "Loading endpoints…");
    let loaded = match source.http_endpoints().await {
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
        endpoints.push(source.secret_refs().resolve_endpoint(endpoint, secrets).await);
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding http endpoints to be processed…");
    tracing::info!(target: SCOPE, "All outstanding http endpoints processed");
    endpoints
}
