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

/// The effective resiliency policies of the targets that the query names with
/// `app`, `actor` and `component`; of every component when it names none. An
/// addition to Dapr (docs/resiliency.md).
pub async fn resiliency(api: Arc<Api>, call: Call) -> Result<Response<Body>, ApiError> {
    let (apps, actors) = (call.query_values("app"), call.query_values("actor"));
    let mut components = call.query_values("component");
    if apps.is_empty() && actors.is_empty() && components.is_empty() {
        components = api.metadata.components().into_iter().map(|c| c.name).collect();
    }
    let explained = api.metadata.explain(&apps, &actors, &components);
    Ok(reply::json(dapr_gocompat::json::to_go_json(&explained)))
}

pub async fn set(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    let body = call.read_body().await?;
    let value = String::from_utf8_lossy(&body).into_owned();
    api.metadata.set(call.params.get("key"), value);
    Ok(reply::no_content())
}
