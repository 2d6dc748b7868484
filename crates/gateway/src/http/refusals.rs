//! What calls of building blocks that this release does not have are answered.
//! Where the contract has an answer for "nothing of this kind is configured",
//! that is the answer; otherwise 501 in words. docs/gaps.md lists them.

use dapr_errors::{ApiError, Code, general};

use crate::Api;

pub fn actors(api: &Api) -> ApiError {
    if api.placement_configured {
        return general::not_available("the actor runtime");
    }
    ApiError::simple("ERR_ACTOR_NO_PLACEMENT", 400, Code::Unavailable, "placement service is not configured")
}

pub fn jobs(api: &Api) -> ApiError {
    if api.scheduler_configured {
        return general::not_available("the jobs API");
    }
    ApiError::basic(
        "DAPR_SCHEDULER_SCHEDULE_JOB",
        500,
        Code::Internal,
        "failed to reach the scheduler: scheduler clients are disabled",
    )
}
