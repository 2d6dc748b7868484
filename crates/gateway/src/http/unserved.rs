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

pub async fn subtle_crypto(_: Arc<Api>, _: Call) -> Answer {
    Err(general::unimplemented())
}

pub async fn jobs(api: Arc<Api>, _: Call) -> Answer {
    Err(refusals::jobs(&api))
}
