//! Conversation over gRPC.

use dapr_wire::runtime::v1 as rt;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::{Api, conversation};

pub async fn alpha1(
    api: &Api,
    request: Request<rt::ConversationRequest>,
) -> Result<Response<rt::ConversationResponse>, Status> {
    let answer = conversation::alpha1(api, request.into_inner()).await;
    answer.map(Response::new).map_err(|e| from_api(&e))
}

pub async fn alpha2(
    api: &Api,
    request: Request<rt::ConversationRequestAlpha2>,
) -> Result<Response<rt::ConversationResponseAlpha2>, Status> {
    let answer = conversation::alpha2(api, request.into_inner()).await;
    answer.map(Response::new).map_err(|e| from_api(&e))
}
