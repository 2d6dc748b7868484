//! Output bindings over HTTP (api.md §2.4).

use std::sync::Arc;

use bytes::Bytes;
use dapr_components::bindings::{InvokeRequest, InvokeResponse};
use dapr_errors::{ApiError, general};
use dapr_gocompat::json;
use dapr_telemetry::trace::ZERO_TRACEPARENT;
use dapr_transport::Body;
use http::Response;

use super::call::Call;
use super::fields::{Fields, first_value};
use super::reply;
use crate::{Api, trace_context};

/// Errors of the binding carry its response metadata too.
pub async fn invoke(api: Arc<Api>, mut call: Call) -> Result<Response<Body>, ApiError> {
    let request = read(&api, &mut call).await?;
    let (mut response, metadata) = match api.bindings.invoke(call.params.get("name"), request).await {
        Ok(InvokeResponse { data, metadata, .. }) => {
            (data.map_or_else(reply::no_content, reply::json), metadata)
        }
        Err(failed) => (reply::error(&failed.error), failed.response.metadata),
    };
    reply::add_metadata(&mut response, &metadata);
    Ok(response)
}

async fn read(api: &Api, call: &mut Call) -> Result<InvokeRequest, ApiError> {
    let body = call.take_body().await.map_err(general::malformed_request)?;
    let mut fields = first_value(&body)
        .and_then(|v| Fields::of(v, "http.OutputBindingRequest"))
        .map_err(general::malformed_request)?;
    let mut metadata = fields.string_map("metadata").map_err(general::malformed_request)?.unwrap_or_default();
    let operation = fields.string("operation").map_err(general::malformed_request)?;
    let data = fields.take("data").unwrap_or_default();
    let trace = trace_context::of(&call.headers);
    if !trace.parent.is_empty() {
        metadata.insert(trace_context::TRACEPARENT.to_owned(), trace.parent.to_owned());
    } else if !api.tracer.is_off() {
        metadata.insert(trace_context::TRACEPARENT.to_owned(), ZERO_TRACEPARENT.to_owned());
    }
    if !trace.state.is_empty() {
        metadata.insert(trace_context::TRACESTATE.to_owned(), trace.state.to_owned());
    }
    let baggage = trace_context::baggage(&call.headers)
        .map_err(|reason| general::malformed(format!("invalid baggage header: {reason}")))?;
    if let Some(baggage) = baggage {
        metadata.insert(trace_context::BAGGAGE.to_owned(), baggage);
    }
    Ok(InvokeRequest { data: Bytes::from(json::to_go_json(&data)), metadata, operation })
}
