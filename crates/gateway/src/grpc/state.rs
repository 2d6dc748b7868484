//! State over gRPC (api.md §4).

use bytes::Bytes;
use dapr_blocks::state::{BulkGetError, StateError, own_error};
use dapr_components::state::{
    Concurrency, Consistency, DeleteRequest, GetRequest, Operation, SetRequest, Value,
};
use dapr_wire::common::v1 as common;
use dapr_wire::common::v1::state_options::{StateConcurrency, StateConsistency};
use dapr_wire::runtime::v1 as rt;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::{Api, trace_context};

pub async fn get(
    api: &Api,
    request: Request<rt::GetStateRequest>,
) -> Result<Response<rt::GetStateResponse>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    let consistency = consistency(request.consistency);
    let call = GetRequest { key: request.key, metadata: request.metadata, consistency };
    let item = store.get(call).await.map_err(failed)?.unwrap_or_default();
    Ok(Response::new(rt::GetStateResponse {
        data: item.data,
        etag: item.etag.unwrap_or_default(),
        metadata: item.metadata,
    }))
}

pub async fn bulk_get(
    api: &Api,
    request: Request<rt::GetBulkStateRequest>,
) -> Result<Response<rt::GetBulkStateResponse>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    let items =
        store.bulk_get(request.keys, &request.metadata, request.parallelism).await.map_err(|e| match e {
            BulkGetError::Refused(refused) => failed(refused),
            // Not wrapped (api.md §4).
            BulkGetError::Store(error) => match own_error(&error) {
                Some(own) => from_api(&own),
                None => Status::unknown(error.to_string()),
            },
        })?;
    let items = items
        .into_iter()
        .map(|item| match item.result {
            Err(error) => rt::BulkStateItem { key: item.key, error, ..Default::default() },
            Ok(found) => {
                let found = found.unwrap_or_default();
                rt::BulkStateItem {
                    key: item.key,
                    data: found.data,
                    etag: found.etag.unwrap_or_default(),
                    error: String::new(),
                    metadata: found.metadata,
                }
            }
        })
        .collect();
    Ok(Response::new(rt::GetBulkStateResponse { items }))
}

pub async fn save(api: &Api, request: Request<rt::SaveStateRequest>) -> Result<Response<()>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    let mut items = Vec::with_capacity(request.states.len());
    for item in request.states {
        if item.key.is_empty() {
            return Err(from_api(&dapr_errors::state::empty_key()));
        }
        items.push(set_request(item, store.is_encrypted())?);
    }
    store.save(items).await.map_err(failed)?;
    Ok(Response::new(()))
}

pub async fn delete(api: &Api, request: Request<rt::DeleteStateRequest>) -> Result<Response<()>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    let (concurrency, consistency) = options(request.options.as_ref());
    let call = DeleteRequest {
        key: request.key,
        etag: request.etag.map(|e| e.value),
        metadata: request.metadata,
        concurrency,
        consistency,
    };
    store.delete(call).await.map_err(failed)?;
    Ok(Response::new(()))
}

pub async fn bulk_delete(
    api: &Api,
    request: Request<rt::DeleteBulkStateRequest>,
) -> Result<Response<()>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    store.bulk_delete(request.states.into_iter().map(delete_request).collect()).await.map_err(failed)?;
    Ok(Response::new(()))
}

pub async fn transaction(
    api: &Api,
    request: Request<rt::ExecuteStateTransactionRequest>,
) -> Result<Response<()>, Status> {
    let (call, _, request) = request.into_parts();
    let headers = call.into_headers();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    store.check_transactional().map_err(failed)?;
    let mut operations = Vec::with_capacity(request.operations.len());
    for operation in request.operations {
        let item = operation.request.unwrap_or_default();
        operations.push(match operation.operation_type.as_str() {
            "upsert" => Operation::Upsert(SetRequest {
                value: Value::Bytes(item.value.clone()),
                ..set_request_raw(item)
            }),
            "delete" => Operation::Delete(delete_request(item)),
            other => return Err(from_api(&dapr_errors::state::unknown_operation(other))),
        });
    }
    store.transact(operations, request.metadata, trace_context::of(&headers)).await.map_err(failed)?;
    Ok(Response::new(()))
}

pub async fn query(
    api: &Api,
    request: Request<rt::QueryStateRequest>,
) -> Result<Response<rt::QueryStateResponse>, Status> {
    let request = request.into_inner();
    let store = api.state.store(&request.store_name, false).map_err(|e| from_api(&e))?;
    let answer = store.query(request.query.as_bytes(), &request.metadata).await.map_err(failed)?;
    let results = answer
        .results
        .into_iter()
        .map(|i| rt::QueryStateItem {
            key: i.key,
            data: i.data,
            etag: i.etag.unwrap_or_default(),
            error: i.error,
        })
        .collect();
    Ok(Response::new(rt::QueryStateResponse { results, token: answer.token, metadata: answer.metadata }))
}

fn failed(error: StateError) -> Status {
    from_api(&error.into_api(false))
}

/// A value that says it is JSON is stored as JSON, re-encoded; one that is to
/// be encrypted, as it is.
fn set_request(item: common::StateItem, encrypted: bool) -> Result<SetRequest, Status> {
    let is_json = item.metadata.get("contentType").is_some_and(|t| t == "application/json");
    let value = if is_json {
        let text = dapr_gocompat::json::normalize(&item.value).map_err(|e| Status::unknown(e.to_string()))?;
        if encrypted { Value::Bytes(item.value.clone()) } else { Value::Json(Bytes::from(text)) }
    } else {
        Value::Bytes(item.value.clone())
    };
    Ok(SetRequest { value, ..set_request_raw(item) })
}

fn set_request_raw(item: common::StateItem) -> SetRequest {
    let (concurrency, consistency) = options(item.options.as_ref());
    let content_type = item.metadata.get("contentType").cloned();
    SetRequest {
        key: item.key,
        value: Value::Bytes(Bytes::new()),
        etag: item.etag.map(|e| e.value),
        metadata: item.metadata,
        concurrency,
        consistency,
        content_type,
    }
}

fn delete_request(item: common::StateItem) -> DeleteRequest {
    let (concurrency, consistency) = options(item.options.as_ref());
    DeleteRequest {
        key: item.key,
        etag: item.etag.map(|e| e.value),
        metadata: item.metadata,
        concurrency,
        consistency,
    }
}

fn options(options: Option<&common::StateOptions>) -> (Concurrency, Consistency) {
    let Some(options) = options else { return Default::default() };
    let concurrency = match options.concurrency() {
        StateConcurrency::ConcurrencyUnspecified => Concurrency::Unspecified,
        StateConcurrency::ConcurrencyFirstWrite => Concurrency::FirstWrite,
        StateConcurrency::ConcurrencyLastWrite => Concurrency::LastWrite,
    };
    (concurrency, consistency(options.consistency))
}

fn consistency(value: i32) -> Consistency {
    match StateConsistency::try_from(value) {
        Ok(StateConsistency::ConsistencyEventual) => Consistency::Eventual,
        Ok(StateConsistency::ConsistencyStrong) => Consistency::Strong,
        _ => Consistency::Unspecified,
    }
}
