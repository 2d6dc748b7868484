//! Secrets over HTTP (api.md §2.2).

use std::sync::Arc;

use dapr_errors::ApiError;
use dapr_gocompat::json::to_go_json;
use dapr_transport::Body;
use http::Response;
use serde_json::json;

use super::call::Call;
use super::reply;
use crate::Api;

// The body says nothing, and is read all the same: it may be too large.

pub async fn get(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    call.read_body().await?;
    let (store, key) = (call.params.get("store"), call.params.get("key"));
    let secret = api.secrets.get(store, key, &call.query_metadata()).await?;
    Ok(reply::json(to_go_json(&json!(secret))))
}

pub async fn bulk_get(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    call.read_body().await?;
    let secrets = api.secrets.bulk_get(call.params.get("store"), &call.query_metadata()).await?;
    Ok(reply::json(to_go_json(&json!(secrets))))
}
