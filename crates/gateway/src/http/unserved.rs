//! Routes of building blocks that this release does not have.

use std::sync::Arc;

use dapr_errors::{ApiError, general};
use dapr_transport::Body;
use http::Response;

use super::call::Call;
use super::refusals;
use crate::Api;

type Answer = Result<Response<Body>, ApiError>;

pub async fn actors(api: Arc<Api>, _: Call) -> Answer {
    Err(refusals::actors(&api))
}

pub async fn configuration(_: Arc<Api>, _: Call) -> Answer {
    Err(refusals::configuration())
}

/// Requests are checked before the store is looked for (api.md §2.6).
pub async fn try_lock(_: Arc<Api>, mut call: Call) -> Answer {
    let body = call.read_body().await?;
    let request: serde_json::Value = if body.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_slice(&body).map_err(general::malformed_request)?
    };
    let expiry = ["expiryInSeconds", "expiry_in_seconds"].iter().find_map(|k| request.get(k)?.as_i64());
    if expiry.unwrap_or(0) <= 0 {
        let store = call.params.get("store");
        return Err(general::malformed(format!("ExpiryInSeconds is not positive in lock store {store}")));
    }
    Err(refusals::lock())
}

pub async fn unlock(_: Arc<Api>, _: Call) -> Answer {
    Err(refusals::lock())
}

pub async fn crypto(_: Arc<Api>, _: Call) -> Answer {
    Err(refusals::crypto())
}

pub async fn subtle_crypto(_: Arc<Api>, _: Call) -> Answer {
    Err(general::unimplemented())
}

pub async fn jobs(api: Arc<Api>, _: Call) -> Answer {
    Err(refusals::jobs(&api))
}

pub async fn conversation(_: Arc<Api>, call: Call) -> Answer {
    Err(refusals::conversation(call.params.get("name")))
}
