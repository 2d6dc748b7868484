//! Secrets over gRPC.

use dapr_wire::runtime::v1 as rt;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::Api;

pub async fn get(
    api: &Api,
    request: Request<rt::GetSecretRequest>,
) -> Result<Response<rt::GetSecretResponse>, Status> {
    let request = request.into_inner();
    let data = api
        .secrets
        .get(&request.store_name, &request.key, &request.metadata)
        .await
        .map_err(|e| from_api(&e))?;
    Ok(Response::new(rt::GetSecretResponse { data }))
}

pub async fn bulk_get(
    api: &Api,
    request: Request<rt::GetBulkSecretRequest>,
) -> Result<Response<rt::GetBulkSecretResponse>, Status> {
    let request = request.into_inner();
    let all = api.secrets.bulk_get(&request.store_name, &request.metadata).await.map_err(|e| from_api(&e))?;
    let data = all.into_iter().map(|(name, secrets)| (name, rt::SecretResponse { secrets })).collect();
    Ok(Response::new(rt::GetBulkSecretResponse { data }))
}
