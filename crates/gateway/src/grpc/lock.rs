//! Distributed lock over gRPC.

use dapr_wire::runtime::v1 as rt;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::Api;

type Answer<T> = Result<Response<T>, Status>;

pub async fn try_lock(api: &Api, request: Request<rt::TryLockRequest>) -> Answer<rt::TryLockResponse> {
    let rt::TryLockRequest { store_name, resource_id, lock_owner, expiry_in_seconds } = request.into_inner();
    let locked = api.lock.try_lock(&store_name, &resource_id, &lock_owner, expiry_in_seconds).await;
    Ok(Response::new(rt::TryLockResponse { success: locked.map_err(|e| from_api(&e))? }))
}

pub async fn unlock(api: &Api, request: Request<rt::UnlockRequest>) -> Answer<rt::UnlockResponse> {
    let rt::UnlockRequest { store_name, resource_id, lock_owner } = request.into_inner();
    let unlocked = api.lock.unlock(&store_name, &resource_id, &lock_owner).await;
    Ok(Response::new(rt::UnlockResponse { status: unlocked.map_err(|e| from_api(&e))? as i32 }))
}
