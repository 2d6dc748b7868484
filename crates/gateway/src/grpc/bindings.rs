//! Output bindings over gRPC (api.md §4).

use std::collections::HashMap;

use dapr_components::bindings::InvokeRequest;
use dapr_telemetry::trace::ZERO_TRACEPARENT;
use dapr_wire::runtime::v1 as rt;
use tonic::metadata::{Ascii, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::{Api, trace_context};

pub async fn invoke(
    api: &Api,
    request: Request<rt::InvokeBindingRequest>,
) -> Result<Response<rt::InvokeBindingResponse>, Status> {
    let (metadata, _, message) = request.into_parts();
    let name = message.name;
    let call = InvokeRequest {
        data: message.data,
        metadata: with_caller_metadata(message.metadata, metadata)?,
        operation: message.operation,
    };
    match api.bindings.invoke(&name, call).await {
        Ok(answer) => {
            let mut response = Response::new(rt::InvokeBindingResponse {
                data: answer.data.unwrap_or_default(),
                metadata: answer.metadata.clone(),
            });
            add_metadata(response.metadata_mut(), &answer.metadata);
            Ok(response)
        }
        Err(failed) => {
            let mut status = from_api(&failed.error);
            add_metadata(status.metadata_mut(), &failed.response.metadata);
            Err(status)
        }
    }
}

/// Binding metadata plus the call's own: keys that are there already stay,
/// but for the trace context.
fn with_caller_metadata(
    mut binding: HashMap<String, String>,
    call: MetadataMap,
) -> Result<HashMap<String, String>, Status> {
    let headers = call.into_headers();
    let trace = trace_context::of(&headers);
    binding.entry(trace_context::TRACEPARENT.to_owned()).or_insert_with(|| {
        if trace.parent.is_empty() { ZERO_TRACEPARENT.to_owned() } else { trace.parent.to_owned() }
    });
    let baggage = trace_context::baggage(&headers)
        .map_err(|reason| Status::invalid_argument(format!("invalid baggage header: {reason}")))?;
    if let Some(baggage) = baggage {
        binding.insert(trace_context::BAGGAGE.to_owned(), baggage);
    }
    for pair in MetadataMap::from_headers(headers).iter() {
        let (key, value) = match pair {
            KeyAndValueRef::Ascii(key, value) => (key.as_str(), value.to_str().ok().map(str::to_owned)),
            KeyAndValueRef::Binary(key, value) => {
                (key.as_str(), value.to_bytes().ok().map(|b| String::from_utf8_lossy(&b).into_owned()))
            }
        };
        let Some(value) = value else { continue };
        let is_trace = matches!(key, trace_context::TRACEPARENT | trace_context::TRACESTATE);
        let key = if key.starts_with("grpc-") { format!("dapr-{key}") } else { key.to_owned() };
        if is_trace {
            binding.insert(key, value);
        } else {
            binding.entry(key).or_insert(value);
        }
    }
    Ok(binding)
}

/// Response metadata as `metadata.<k>`; what cannot be metadata is left out.
fn add_metadata(metadata: &mut MetadataMap, response: &HashMap<String, String>) {
    for (key, value) in response {
        let key = format!("metadata.{}", key.to_ascii_lowercase());
        if let (Ok(key), Ok(value)) = (
            MetadataKey::<Ascii>::from_bytes(key.as_bytes()),
            MetadataValue::<Ascii>::try_from(value.as_str()),
        ) {
            metadata.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binding_sees_the_calls_metadata_but_keeps_its_own() {
        let mut call = MetadataMap::new();
        for (key, value) in [("mine", "of-call"), ("other", "o"), ("grpc-timeout", "1S")] {
            call.insert(key, value.parse().unwrap());
        }
        let own = HashMap::from([("mine".to_owned(), "own".to_owned())]);
        let seen = with_caller_metadata(own, call).unwrap();
        assert_eq!(seen["mine"], "own");
        assert_eq!(seen["other"], "o");
        assert_eq!(seen["dapr-grpc-timeout"], "1S");
        assert_eq!(seen["traceparent"], ZERO_TRACEPARENT);
    }

    #[test]
    fn bad_baggage_is_refused() {
        let mut call = MetadataMap::new();
        call.insert("baggage", "invalid-baggage".parse().unwrap());
        assert_eq!(
            with_caller_metadata(HashMap::new(), call).unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
}
