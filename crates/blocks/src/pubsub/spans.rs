//! Spans of deliveries, and of the entries of a bulk publish (runtime.md §10).

use dapr_errors::ApiError;
use dapr_resiliency::StatusCode;
use dapr_telemetry::trace::{Span, SpanKind, TraceContext, Tracer};
use serde_json::{Map, Value};

use super::bulk_publish::BulkFailure;
use super::deliver::DeliveryError;
use super::service::{Trace, Via};

/// The span of handing one event to a subscriber; none for an event without a
/// trace. An unreadable trace begins a new one.
pub(super) fn delivery(tracer: &Tracer, attributes: &Map<String, Value>, topic: &str) -> Span {
    if !tracer.is_active() {
        return Span::none();
    }
    let Some(parent) = traceparent(attributes) else { return Span::none() };
    let parent = TraceContext::parse_traceparent(parent);
    let mut span = tracer.start(SpanKind::Client, parent.as_ref(), || format!("pubsub/{topic}"));
    span.set("messaging.system", "pubsub");
    span.set("messaging.destination.name", topic);
    span
}

/// The trace that an event belongs to, as text.
pub(super) fn traceparent(attributes: &Map<String, Value>) -> Option<&str> {
    let parent = attributes.get("traceparent").or_else(|| attributes.get("traceid"));
    parent.and_then(Value::as_str)
}

/// Marks a delivery as failed unless the subscriber took the event.
pub(super) fn judge(span: &mut Span, outcome: &Result<(), DeliveryError>) {
    match outcome {
        Ok(()) | Err(DeliveryError::Dropped) => {}
        Err(DeliveryError::NoRoute) => span.http_status(404),
        Err(DeliveryError::Retry { status: Some(StatusCode(status @ 400..600)), .. }) => {
            span.http_status(u16::try_from(*status).unwrap_or(500));
        }
        Err(error @ (DeliveryError::Unserved | DeliveryError::Retry { .. })) => span.fail(error.to_string()),
    }
}

/// One span per entry, below the call's.
pub(super) struct Entries<'a> {
    tracer: &'a Tracer,
    name: &'a str,
    via: Via,
    parent: Option<TraceContext>,
    open: Vec<Span>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(tracer: &'a Tracer, name: &'a str, via: Via, call: Trace<'_>) -> Self {
        let parent =
            tracer.is_active().then(|| TraceContext::from_headers(call.parent, call.state)).flatten();
        Self { tracer, name, via, parent, open: Vec::new() }
    }

    /// Begins the span of the next entry: what its event names as its trace,
    /// or `None` where that is the call's.
    pub(super) fn next(&mut self) -> Option<String> {
        let name = self.name;
        let span = self.tracer.start(SpanKind::Producer, self.parent.as_ref(), || name.to_owned());
        let parent = span.context().map(TraceContext::traceparent);
        if span.is_recording() {
            self.open.push(span);
        }
        parent
    }

    pub(super) fn end(mut self, outcome: &Result<(), BulkFailure>) {
        let Err(failure) = outcome else { return };
        let error: &ApiError = failure.error();
        for span in &mut self.open {
            match self.via {
                Via::Http => span.http_status(error.http),
                Via::Grpc => span.fail(error.message.as_str()),
            }
        }
    }
}
