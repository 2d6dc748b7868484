//! Spans in OTLP.

use std::sync::Arc;
use std::time::SystemTime;

use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::trace::{SpanData, SpanKind};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};

use crate::collector::{OtlpClient, SendError, Signal};
use crate::endpoint::{EndpointError, OtlpEndpoint};
use crate::worker::Export;

/// Conventions that the attributes follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.25.0";
/// The library that makes the spans, as Dapr calls it.
pub const SCOPE_NAME: &str = "dapr-diagnostics";

const TRACES: Signal =
    Signal { method: "/opentelemetry.proto.collector.trace.v1.TraceService/Export", path: "/v1/traces" };

pub struct Otlp {
    client: OtlpClient,
    resource: Resource,
}

impl Otlp {
    pub fn new(
        endpoint: &OtlpEndpoint,
        resource: &[(String, String)],
        tasks: &TaskGroup,
    ) -> Result<Self, EndpointError> {
        Ok(Self { client: OtlpClient::new(endpoint, TRACES, tasks)?, resource: to_resource(resource) })
    }
}

impl Export for Otlp {
    fn name(&self) -> &'static str {
        "the OTLP collector"
    }

    async fn export(&self, spans: &[Arc<SpanData>]) -> Result<(), SendError> {
        self.client.send(&request(&self.resource, spans)).await
    }
}

fn request(resource: &Resource, spans: &[Arc<SpanData>]) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: SCOPE_NAME.to_owned(), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(|span| to_span(span)).collect(),
        schema_url: String::new(),
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![scope_spans],
        schema_url: SCHEMA_URL.to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

pub fn to_resource(pairs: &[(String, String)]) -> Resource {
    Resource { attributes: pairs.iter().map(|(k, v)| text(k, v)).collect(), ..Resource::default() }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub fn unix_nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn to_span(data: &SpanData) -> Span {
    let kind = match data.kind {
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Producer => span::SpanKind::Producer,
    };
    let parent = data.parent.0;
    let status = match &data.error {
        Some(message) => Status { message: message.clone(), code: status::StatusCode::Error as i32 },
        None => Status::default(),
    };
    Span {
        trace_id: data.context.trace_id.0.to_vec(),
        span_id: data.context.span_id.0.to_vec(),
        trace_state: data.context.state.as_str().to_owned(),
        parent_span_id: if parent == [0; 8] { Vec::new() } else { parent.to_vec() },
        flags: u32::from(data.context.flags),
        name: data.name.clone(),
        kind: kind as i32,
        start_time_unix_nano: unix_nanos(data.start),
        end_time_unix_nano: unix_nanos(data.end),
        attributes: data.attributes.iter().map(|(k, v)| text(k, v)).collect(),
        dropped_attributes_count: data.dropped,
        status: Some(status),
        ..Span::default()
    }
}
