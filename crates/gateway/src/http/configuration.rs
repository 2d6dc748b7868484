//! Configuration over HTTP (api.md §2.5).

use std::sync::Arc;

use bytes::Bytes;
use dapr_blocks::configuration::items_to_json;
use dapr_components::configuration::Query;
use dapr_errors::ApiError;
use dapr_gocompat::json::to_go_json;
use dapr_transport::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::reply;
use crate::Api;

type Answer = Result<Response<Body>, ApiError>;

pub async fn get(api: Arc<Api>, call: Call) -> Answer {
    let items = api.configuration.get(call.params.get("store"), &query(&call)).await?;
    if items.is_empty() {
        return Ok(reply::no_content());
    }
    Ok(reply::json(line(&items_to_json(&items))))
}

pub async fn subscribe(api: Arc<Api>, call: Call) -> Answer {
    let id = api.configuration.subscribe_app(call.params.get("store"), query(&call)).await?;
    Ok(reply::json(line(&json!({ "id": id }))))
}

/// A subscription that is not there is told about without an error code.
pub async fn unsubscribe(api: Arc<Api>, call: Call) -> Answer {
    let (store, id) = (call.params.get("store"), call.params.get("id"));
    match api.configuration.unsubscribe(store, id).await {
        Ok(()) => Ok(reply::json(line(&json!({ "ok": true })))),
        Err(error) if error.tag == "ERR_CONFIGURATION_UNSUBSCRIBE" => {
            let body = line(&json!({ "message": error.message }));
            Ok(reply::json_with(StatusCode::INTERNAL_SERVER_ERROR, body))
        }
        Err(error) => Err(error),
    }
}

fn query(call: &Call) -> Query {
    Query { keys: call.query_values("key"), metadata: call.query_metadata() }
}

/// These answers end with a line feed.
fn line(value: &Value) -> Bytes {
    let mut text = to_go_json(value);
    text.push(b'\n');
    Bytes::from(text)
}
