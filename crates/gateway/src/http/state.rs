//! State over HTTP (api.md §2.1).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use dapr_blocks::state::{BulkGetError, StateError, Store, own_error};
use dapr_components::state::{
    BulkItem, Concurrency, Consistency, DeleteRequest, GetRequest, Operation, RequestMetadata, SetRequest,
    Value,
};
use dapr_errors::{ApiError, Code, Detail, general, state as errors};
use dapr_gocompat::json;
use dapr_transport::Body;
use http::header::IF_MATCH;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value as Json;

use super::call::Call;
use super::fields::{Fields, first_value};
use super::reply;
use crate::{Api, trace_context};

type Answer = Result<Response<Body>, ApiError>;

/// Canonical header `Etag` in the reference; names are not case-sensitive.
const ETAG: HeaderName = http::header::ETAG;

fn store(api: &Api, call: &Call) -> Result<Store, ApiError> {
    api.state.store(call.params.get("store"), true)
}

fn http_form(error: StateError) -> ApiError {
    error.into_api(true)
}

/// Of an illegal key within a transaction the details do not name the field.
fn transaction_form(error: StateError) -> ApiError {
    let mut api = http_form(error);
    for detail in &mut api.details {
        if let Detail::BadRequest { violations } = detail {
            violations.iter_mut().for_each(|(field, _)| field.clear());
        }
    }
    api
}

pub async fn get(api: Arc<Api>, call: Call) -> Answer {
    let store = store(&api, &call)?;
    let request = GetRequest {
        key: call.params.get("key").to_owned(),
        metadata: call.query_metadata(),
        consistency: consistency(&call.query_value("consistency").unwrap_or_default()),
    };
    // Empty means missing, but not where there is something to decrypt.
    let empty_is_missing = !store.is_encrypted();
    let found = store.get(request).await.map_err(http_form)?;
    let Some(item) = found.filter(|i| !(empty_is_missing && i.data.is_empty())) else {
        return Ok(reply::no_content());
    };
    let mut response = reply::json(item.data);
    if let Some(etag) = item.etag
        && let Ok(value) = HeaderValue::try_from(etag)
    {
        response.headers_mut().insert(ETAG, value);
    }
    reply::add_metadata(&mut response, &item.metadata);
    Ok(response)
}

pub async fn save(api: Arc<Api>, mut call: Call) -> Answer {
    let store = store(&api, &call)?;
    let body = call.take_body().await.map_err(general::malformed)?;
    let items = first_value(&body).map_err(|e| general::malformed(e.to_string()))?;
    let items = match items {
        Json::Array(items) => items,
        Json::Null => Vec::new(),
        other => {
            let kind = json::kind_name(&other);
            return Err(general::malformed(json::unmarshal_type_error(kind, "[]state.SetRequest")));
        }
    };
    let query = call.query_metadata();
    let mut requests = Vec::with_capacity(items.len());
    for item in items {
        let request = set_request(item, &query).map_err(general::malformed)?;
        if request.key.is_empty() {
            return Err(general::malformed("\"key\" is a required field"));
        }
        requests.push(request);
    }
    store.save(requests).await.map_err(http_form)?;
    Ok(reply::no_content())
}

pub async fn delete(api: Arc<Api>, call: Call) -> Answer {
    let store = store(&api, &call)?;
    let request = DeleteRequest {
        key: call.params.get("key").to_owned(),
        etag: call.headers.get(IF_MATCH).and_then(|v| v.to_str().ok()).map(str::to_owned),
        metadata: call.query_metadata(),
        concurrency: concurrency(&call.query_value("concurrency").unwrap_or_default()),
        consistency: consistency(&call.query_value("consistency").unwrap_or_default()),
    };
    store.delete(request).await.map_err(http_form)?;
    Ok(reply::no_content())
}

pub async fn bulk_get(api: Arc<Api>, mut call: Call) -> Answer {
    let store = store(&api, &call)?;
    let body = call.take_body().await.map_err(general::malformed_request)?;
    let mut fields = first_value(&body)
        .and_then(|v| Fields::of(v, "http.BulkGetRequest"))
        .map_err(general::malformed_request)?;
    let keys = fields.strings("keys").map_err(general::malformed_request)?;
    let parallelism = fields.integer("parallelism").map_err(general::malformed_request)?;
    let mut metadata = fields.string_map("metadata").map_err(general::malformed_request)?.unwrap_or_default();
    metadata.extend(call.query_metadata());
    let parallelism = i32::try_from(parallelism).unwrap_or(0);
    let items = store.bulk_get(keys, &metadata, parallelism).await.map_err(|e| match e {
        BulkGetError::Refused(refused) => http_form(refused),
        BulkGetError::Store(error) => {
            let http = own_error(&error).map_or(500, |own| own.http);
            ApiError { http, ..errors::bulk_get_failed(error) }
        }
    })?;
    Ok(reply::json(bulk_json(items)))
}

/// Data that is not JSON makes the reference answer with an empty body.
fn bulk_json(items: Vec<BulkItem>) -> Bytes {
    let mut out = Vec::with_capacity(items.len() * 64);
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        out.extend_from_slice(json::escape_str(&item.key).as_bytes());
        match item.result {
            Err(error) => push_field(&mut out, "error", &error),
            Ok(None) => {}
            Ok(Some(found)) => {
                if !found.data.is_empty() {
                    let Ok(data) = json::compact(&found.data) else { return Bytes::new() };
                    out.extend_from_slice(b",\"data\":");
                    out.extend_from_slice(&data);
                }
                push_field(&mut out, "etag", found.etag.as_deref().unwrap_or_default());
                if !found.metadata.is_empty() {
                    out.extend_from_slice(b",\"metadata\":");
                    out.extend_from_slice(&json::to_go_json(&serde_json::json!(found.metadata)));
                }
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]\n");
    Bytes::from(out)
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        out.extend_from_slice(json::escape_str(value).as_bytes());
    }
}

pub async fn transaction(api: Arc<Api>, mut call: Call) -> Answer {
    let store = store(&api, &call)?;
    store.check_transactional().map_err(http_form)?;
    let body = call.take_body().await.map_err(general::malformed_request)?;
    let mut fields = first_value(&body)
        .and_then(|v| Fields::of(v, "http.stateTransactionRequestBody"))
        .map_err(general::malformed_request)?;
    let operations = fields.objects("operations").map_err(general::malformed_request)?;
    let mut metadata = fields.string_map("metadata").map_err(general::malformed_request)?.unwrap_or_default();
    let query = call.query_metadata();
    metadata.extend(query.clone());
    let mut parsed = Vec::with_capacity(operations.len());
    for mut operation in operations {
        let kind = operation.string("operation").map_err(general::malformed_request)?;
        let request = operation.take("request").unwrap_or(Json::Null);
        parsed.push(match kind.as_str() {
            "upsert" => Operation::Upsert(set_request(request, &query).map_err(general::malformed_request)?),
            "delete" => {
                Operation::Delete(delete_request(request, &query).map_err(general::malformed_request)?)
            }
            other => return Err(errors::unknown_operation(other)),
        });
    }
    let trace = trace_context::of(&call.headers);
    store.transact(parsed, metadata, trace).await.map_err(transaction_form)?;
    Ok(reply::no_content())
}

pub async fn query(api: Arc<Api>, mut call: Call) -> Answer {
    // One of the calls that both protocols share: its errors do not name the application.
    let store = api.state.store(call.params.get("store"), false)?;
    let body = call.read_body().await?;
    let answer = store.query(&body, &call.query_metadata()).await.map_err(http_form)?;
    if answer.results.is_empty() {
        return Ok(reply::no_content());
    }
    let mut results = Vec::with_capacity(answer.results.len());
    for item in answer.results {
        let data: Json = serde_json::from_slice(&item.data)
            .map_err(|e| ApiError::simple("ERR_MALFORMED_RESPONSE", 500, Code::Internal, e.to_string()))?;
        let mut entry = serde_json::json!({"key": item.key, "data": data});
        if let Some(etag) = item.etag {
            entry["etag"] = etag.into();
        }
        if !item.error.is_empty() {
            entry["error"] = item.error.into();
        }
        results.push(entry);
    }
    let mut out = serde_json::json!({"results": results});
    if !answer.token.is_empty() {
        out["token"] = answer.token.into();
    }
    if !answer.metadata.is_empty() {
        out["metadata"] = serde_json::json!(answer.metadata);
    }
    Ok(reply::json_with(StatusCode::OK, json::to_go_json(&out)))
}

/// An item as clients write it; query metadata wins over the item's own.
fn set_request(item: Json, query: &RequestMetadata) -> Result<SetRequest, String> {
    let mut fields = Fields::of(item, "state.SetRequest").map_err(|e| e.to_string())?;
    let common = Common::take(&mut fields, query)?;
    let value = fields.take("value").unwrap_or(Json::Null);
    let content_type = fields.optional_string("contentType").map_err(|e| e.to_string())?;
    Ok(SetRequest {
        key: common.key,
        value: Value::Json(Bytes::from(json::to_go_json(&value))),
        etag: common.etag,
        metadata: common.metadata,
        concurrency: common.concurrency,
        consistency: common.consistency,
        content_type,
    })
}

fn delete_request(item: Json, query: &RequestMetadata) -> Result<DeleteRequest, String> {
    let mut fields = Fields::of(item, "state.DeleteRequest").map_err(|e| e.to_string())?;
    let common = Common::take(&mut fields, query)?;
    Ok(DeleteRequest {
        key: common.key,
        etag: common.etag,
        metadata: common.metadata,
        concurrency: common.concurrency,
        consistency: common.consistency,
    })
}

/// What writes and deletes share.
struct Common {
    key: String,
    etag: Option<String>,
    metadata: HashMap<String, String>,
    concurrency: Concurrency,
    consistency: Consistency,
}

impl Common {
    fn take(fields: &mut Fields, query: &RequestMetadata) -> Result<Self, String> {
        let text = |e: super::fields::FieldError| e.to_string();
        let mut metadata = fields.string_map("metadata").map_err(text)?.unwrap_or_default();
        metadata.extend(query.clone());
        let options = fields.take("options").filter(|o| !o.is_null());
        let (mut level, mut model) = (String::new(), String::new());
        if let Some(options) = options {
            let mut options = Fields::of(options, "state.SetStateOption").map_err(text)?;
            model = options.string("concurrency").map_err(text)?;
            level = options.string("consistency").map_err(text)?;
        }
        Ok(Self {
            key: fields.string("key").map_err(text)?,
            etag: fields.optional_string("etag").map_err(text)?,
            metadata,
            concurrency: concurrency(&model),
            consistency: consistency(&level),
        })
    }
}

fn concurrency(text: &str) -> Concurrency {
    match text {
        "first-write" => Concurrency::FirstWrite,
        "last-write" => Concurrency::LastWrite,
        _ => Concurrency::Unspecified,
    }
}

fn consistency(text: &str) -> Consistency {
    match text {
        "strong" => Consistency::Strong,
        "eventual" => Consistency::Eventual,
        _ => Consistency::Unspecified,
    }
}
