//! Publishing and streamed subscriptions over gRPC (api.md §4, §6.5).

use dapr_blocks::pubsub::{
    Acks, BulkCall, BulkEntryCall, EventStream, Form, PublishCall, StreamError, StreamRequest, Via,
};
use dapr_wire::runtime::v1 as rt;
use dapr_wire::runtime::v1::subscribe_topic_events_request_alpha1::SubscribeTopicEventsRequestType as FromClient;
use dapr_wire::runtime::v1::subscribe_topic_events_response_alpha1::SubscribeTopicEventsResponseType as ToClient;
use tonic::{Request, Response, Status, Streaming};

use super::service::Messages;
use super::status::from_api;
use crate::{Api, trace_context};

/// What the spans of bulk entries are called, whichever version was called.
const BULK_PUBLISH: &str = "/dapr.proto.runtime.v1.Dapr/BulkPublishEvent";

type Inbound = Streaming<rt::SubscribeTopicEventsRequestAlpha1>;
type Outbound = rt::SubscribeTopicEventsResponseAlpha1;

pub async fn publish(api: &Api, request: Request<rt::PublishEventRequest>) -> Result<Response<()>, Status> {
    let (metadata, _, message) = request.into_parts();
    let headers = metadata.into_headers();
    let call = PublishCall {
        pubsub: &message.pubsub_name,
        topic: &message.topic,
        content_type: &message.data_content_type,
        data: message.data,
        metadata: message.metadata,
        trace: trace_context::of(&headers),
        via: Via::Grpc,
    };
    api.pubsub.publish(call).await.map_err(|e| from_api(&e))?;
    Ok(Response::new(()))
}

/// Failed entries are not named: a failure is only a status.
pub async fn bulk_publish(
    api: &Api,
    request: Request<rt::BulkPublishRequest>,
) -> Result<Response<rt::BulkPublishResponse>, Status> {
    let (metadata, _, message) = request.into_parts();
    let headers = metadata.into_headers();
    let entries = message.entries.into_iter().map(|entry| BulkEntryCall {
        entry_id: entry.entry_id,
        event: entry.event,
        form: Form::AsSent,
        content_type: entry.content_type,
        // An empty map cannot be told from an absent one.
        metadata: (!entry.metadata.is_empty()).then_some(entry.metadata),
    });
    let call = BulkCall {
        pubsub: &message.pubsub_name,
        topic: &message.topic,
        entries: entries.collect(),
        ids_admitted: false,
        metadata: message.metadata,
        trace: trace_context::of(&headers),
        via: Via::Grpc,
        name: BULK_PUBLISH,
    };
    api.pubsub.bulk_publish(call).await.map_err(|failure| from_api(failure.error()))?;
    Ok(Response::new(rt::BulkPublishResponse::default()))
}

pub async fn subscribe(api: &Api, request: Request<Inbound>) -> Result<Response<Messages<Outbound>>, Status> {
    let mut inbound = request.into_inner();
    let first = tokio::select! {
        first = inbound.message() => first?,
        () = api.pubsub.closing() => return Err(Status::unknown("api server closed")),
    };
    let first = first.ok_or_else(|| Status::unknown("EOF"))?;
    let Some(FromClient::InitialRequest(initial)) = first.subscribe_topic_events_request_type else {
        return Err(Status::unknown("initial request is required"));
    };
    if initial.pubsub_name.is_empty() {
        return Err(Status::unknown("pubsubName is required"));
    }
    if initial.topic.is_empty() {
        return Err(Status::unknown("topic is required"));
    }
    let opened = api.pubsub.open_stream(StreamRequest {
        pubsub: initial.pubsub_name,
        topic: initial.topic,
        metadata: initial.metadata.into_iter().collect(),
        dead_letter_topic: initial.dead_letter_topic.unwrap_or_default(),
    });
    let events = opened.await.map_err(|error| match error {
        StreamError::Api(error) => from_api(&error),
        StreamError::Text(text) => Status::unknown(text),
    })?;
    let acks = events.acks();
    let state = Conversation { inbound, events, acks, greeted: false };
    let messages = futures::stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Ok(message) => Some((Ok(message), Some(state))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(Response::new(Box::pin(messages)))
}

struct Conversation {
    inbound: Inbound,
    events: EventStream,
    acks: Acks,
    greeted: bool,
}

impl Conversation {
    /// The next message to the client; what it sends meanwhile is taken in.
    async fn next(&mut self) -> Result<Outbound, Status> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Ok(outbound(ToClient::InitialResponse(rt::SubscribeTopicEventsResponseInitialAlpha1 {})));
        }
        loop {
            tokio::select! {
                // Answers first: they are what lets further events come.
                biased;
                received = self.inbound.message() => self.take(received?)?,
                event = self.events.next() => {
                    let event = event.ok_or_else(|| Status::unknown("stream closed"))?;
                    return Ok(outbound(ToClient::EventMessage(event)));
                }
            }
        }
    }

    fn take(&self, received: Option<rt::SubscribeTopicEventsRequestAlpha1>) -> Result<(), Status> {
        let received = received.ok_or_else(|| Status::unknown("EOF"))?;
        let Some(FromClient::EventProcessed(processed)) = received.subscribe_topic_events_request_type else {
            return Err(Status::unknown("duplicate initial request received"));
        };
        let status = processed.status.map(|s| s.status).unwrap_or_default();
        self.acks.processed(&processed.id, status);
        Ok(())
    }
}

fn outbound(message: ToClient) -> Outbound {
    Outbound { subscribe_topic_events_response_type: Some(message) }
}
