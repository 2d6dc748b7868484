//! The metadata API (runtime.md §11).

use std::sync::Arc;

use dapr_errors::ApiError;
use dapr_transport::Body;
use http::Response;

use super::call::Call;
use super::reply;
use crate::Api;

pub async fn get(api: Arc<Api>, _: Call) -> Result<Response<Body>, ApiError> {
    let document = api.metadata.document(&api.pubsub);
    Ok(reply::json(dapr_gocompat::json::to_go_json(&document.to_json())))
}

pub async fn set(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    let body = call.read_body().await?;
    let value = String::from_utf8_lossy(&body).into_owned();
    api.metadata.set(call.params.get("key"), value);
    Ok(reply::no_content())
}
