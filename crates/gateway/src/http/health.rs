//! Health and shutdown (api.md §2.12).

use std::sync::Arc;

use dapr_errors::{ApiError, general};
use dapr_gocompat::bools;
use dapr_transport::Body;
use http::Response;

use super::call::Call;
use super::reply;
use crate::Api;

pub async fn ready(api: Arc<Api>, call: Call) -> Result<Response<Body>, ApiError> {
    if let Some(id) = call.query_value("appid").filter(|id| !id.is_empty())
        && id != api.identity.app_id()
    {
        return Err(general::health_app_id_mismatch());
    }
    if !api.health.is_ready() {
        return Err(general::health_not_ready(&api.health.unready()));
    }
    Ok(reply::no_content())
}

pub async fn outbound(api: Arc<Api>, _: Call) -> Result<Response<Body>, ApiError> {
    if !api.control.is_outbound_ready() {
        return Err(general::outbound_not_ready());
    }
    Ok(reply::no_content())
}

pub async fn shutdown(api: Arc<Api>, call: Call) -> Result<Response<Body>, ApiError> {
    if call.header("dapr-force-shutdown").is_some_and(bools::is_truthy) {
        api.control.request_force_shutdown();
    } else {
        api.control.request_shutdown();
    }
    Ok(reply::no_content())
}
