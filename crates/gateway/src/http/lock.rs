//! Distributed lock over HTTP (api.md §2.6).

use std::sync::Arc;

use dapr_errors::{ApiError, general};
use dapr_transport::Body;
use http::Response;

use super::call::Call;
use super::proto_json::Message;
use super::reply;
use crate::Api;

type Answer = Result<Response<Body>, ApiError>;

pub async fn try_lock(api: Arc<Api>, call: Call) -> Answer {
    let (store, request) = read(call, true).await?;
    let Request { resource, owner, expiry } = request;
    let success = api.lock.try_lock(&store, &resource, &owner, expiry).await?;
    Ok(reply::json(format!("{{\"success\":{success}}}")))
}

pub async fn unlock(api: Arc<Api>, call: Call) -> Answer {
    let (store, request) = read(call, false).await?;
    let status = api.lock.unlock(&store, &request.resource, &request.owner).await?;
    Ok(reply::json(format!("{{\"status\":{}}}", status as i32)))
}

struct Request {
    resource: String,
    owner: String,
    /// Seconds.
    expiry: i32,
}

/// The store of the path counts, whatever the body says.
async fn read(mut call: Call, with_expiry: bool) -> Result<(String, Request), ApiError> {
    let body = call.read_body().await?;
    let mut message = Message::parse(&body).map_err(general::malformed_request)?;
    let mut fields = || {
        message.string("storeName", "store_name")?;
        Ok::<_, super::proto_json::Invalid>(Request {
            resource: message.string("resourceId", "resource_id")?,
            owner: message.string("lockOwner", "lock_owner")?,
            expiry: if with_expiry { message.int32("expiryInSeconds", "expiry_in_seconds")? } else { 0 },
        })
    };
    let request = fields().map_err(general::malformed_request)?;
    Ok((call.params.get("store").to_owned(), request))
}
