//! Metadata and shutdown over gRPC.

use dapr_gocompat::bools;
use dapr_wire::runtime::v1 as rt;
use tonic::{Request, Response, Status};

use super::convert;
use crate::Api;

pub async fn get_metadata(
    api: &Api,
    _: Request<rt::GetMetadataRequest>,
) -> Result<Response<rt::GetMetadataResponse>, Status> {
    Ok(Response::new(convert::metadata(api.metadata.document(&api.pubsub))))
}

pub async fn set_metadata(
    api: &Api,
    request: Request<rt::SetMetadataRequest>,
) -> Result<Response<()>, Status> {
    let request = request.into_inner();
    api.metadata.set(&request.key, request.value);
    Ok(Response::new(()))
}

pub async fn shutdown(api: &Api, request: Request<rt::ShutdownRequest>) -> Result<Response<()>, Status> {
    let force = request.metadata().get("dapr-force-shutdown").and_then(|v| v.to_str().ok());
    if force.is_some_and(bools::is_truthy) {
        api.control.request_force_shutdown();
    } else {
        api.control.request_shutdown();
    }
    Ok(Response::new(()))
}
