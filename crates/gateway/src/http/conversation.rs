//! Conversation over HTTP. The component of the path counts, whatever the body
//! says.

use std::sync::Arc;

use dapr_errors::ApiError;
use dapr_transport::Body;
use dapr_wire::runtime::v1 as rt;
use http::Response;

use super::call::Call;
use super::reply;
use crate::{Api, conversation};

type Answer = Result<Response<Body>, ApiError>;

pub async fn alpha1(api: Arc<Api>, mut call: Call) -> Answer {
    let body = call.read_body().await?;
    let mut request: rt::ConversationRequest = api.proto_messages.decode("ConversationRequest", &body)?;
    request.name = call.params.get("name").to_owned();
    let answer = conversation::alpha1(&api, request).await?;
    Ok(reply::json(api.proto_messages.encode("ConversationResponse", &answer)?))
}

pub async fn alpha2(api: Arc<Api>, mut call: Call) -> Answer {
    let body = call.read_body().await?;
    let mut request: rt::ConversationRequestAlpha2 =
        api.proto_messages.decode("ConversationRequestAlpha2", &body)?;
    request.name = call.params.get("name").to_owned();
    let answer = conversation::alpha2(&api, request).await?;
    Ok(reply::json(api.proto_messages.encode("ConversationResponseAlpha2", &answer)?))
}
