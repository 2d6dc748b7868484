//! Health and shutdown (api.md §2.12).

use std::sync::Arc;

use dapr_errors::{ApiError, general};
use dapr_gocompat::bools;
use dapr_transport::Body;
use http::{HeaderName, HeaderValue, Response};

use super::call::Call;
use super::reply;
use crate::Api;

/// Names of components that were asked for and are not there: an addition to
/// Dapr's answer (docs/late-backends.md).
const UNAVAILABLE: HeaderName = HeaderName::from_static("dapr-unavailable-components");

pub async fn ready(api: Arc<Api>, call: Call) -> Result<Response<Body>, ApiError> {
    if !api.health.is_ready() {
        return Err(general::health_not_ready(&api.health.unready()));
    }
    if let Some(id) = call.query_value("appid").filter(|id| !id.is_empty())
        && id != api.identity.app_id()
    {
        return Err(general::health_app_id_mismatch());
    }
    let mut response = reply::no_content();
    let missing: Vec<_> = api.metadata.unavailable_components().into_iter().map(|c| c.name).collect();
    if !missing.is_empty()
        && let Ok(names) = HeaderValue::try_from(missing.join(","))
    {
        response.headers_mut().insert(UNAVAILABLE, names);
    }
    Ok(response)
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
