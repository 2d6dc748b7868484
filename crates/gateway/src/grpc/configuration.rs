//! Configuration over gRPC (api.md §4).

use dapr_blocks::configuration::UpdateStream;
use dapr_components::configuration::{Items, Query};
use dapr_wire::common::v1::ConfigurationItem;
use dapr_wire::runtime::v1 as rt;
use std::collections::HashMap;
use tonic::{Request, Response, Status};

use super::service::Messages;
use super::status::{count, from_api};
use crate::Api;

type Answer<T> = Result<Response<T>, Status>;

pub async fn get(
    api: &Api,
    request: Request<rt::GetConfigurationRequest>,
) -> Answer<rt::GetConfigurationResponse> {
    let request = request.into_inner();
    let query = Query { keys: request.keys, metadata: request.metadata };
    let items = api.configuration.get(&request.store_name, &query).await.map_err(|e| from_api(&e))?;
    Ok(Response::new(rt::GetConfigurationResponse { items: to_wire(items) }))
}

/// The first message has only the id. The stream ends with the client, with
/// an unsubscribe of its id, with its store and with the sidecar.
pub async fn subscribe(
    api: &Api,
    request: Request<rt::SubscribeConfigurationRequest>,
) -> Answer<Messages<rt::SubscribeConfigurationResponse>> {
    let request = request.into_inner();
    let query = Query { keys: request.keys, metadata: request.metadata };
    let stream =
        api.configuration.subscribe_stream(&request.store_name, query).await.map_err(|e| from_api(&e))?;
    let messages = futures::stream::unfold((stream, false), |(mut stream, greeted)| async move {
        let message = next(&mut stream, greeted).await?;
        Some((Ok(message), (stream, true)))
    });
    Ok(Response::new(Box::pin(messages)))
}

async fn next(stream: &mut UpdateStream, greeted: bool) -> Option<rt::SubscribeConfigurationResponse> {
    let items = if greeted { to_wire(stream.next().await?) } else { HashMap::new() };
    Some(rt::SubscribeConfigurationResponse { id: stream.id.clone(), items })
}

/// An unknown id is an answer, not a status.
pub async fn unsubscribe(
    api: &Api,
    request: Request<rt::UnsubscribeConfigurationRequest>,
) -> Answer<rt::UnsubscribeConfigurationResponse> {
    match api.configuration.end_stream(&request.get_ref().id) {
        Ok(()) => {
            tracing::warn!(
                target: "dapr.runtime.grpc.api",
                "Unsubscribing using UnsubscribeConfiguration is deprecated. Disconnect from the SubscribeConfiguration RPC instead."
            );
            Ok(Response::new(rt::UnsubscribeConfigurationResponse { ok: true, message: String::new() }))
        }
        Err(error) => {
            let answer = rt::UnsubscribeConfigurationResponse { ok: false, message: error.message.clone() };
            let mut response = Response::new(answer);
            count(response.metadata_mut(), &error);
            Ok(response)
        }
    }
}

fn to_wire(items: Items) -> HashMap<String, ConfigurationItem> {
    items
        .into_iter()
        .map(|(key, item)| {
            let (value, version, metadata) = (item.value, item.version, item.metadata);
            (key, ConfigurationItem { value, version, metadata })
        })
        .collect()
}
