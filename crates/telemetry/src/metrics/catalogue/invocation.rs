//! `runtime_service_invocation_*`.

use std::time::Duration;

use super::fractional_ms;
use super::http::StatusText;
use crate::metrics::family::{Buckets, Counter, Family, Histogram};
use crate::metrics::registry::Registry;

/// Value of the label `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Unary,
    Streaming,
}

impl MessageKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Streaming => "streaming",
        }
    }
}

/// Service invocation. Statuses are numbers of the protocol in use.
#[derive(Debug)]
pub struct InvocationMetrics {
    request_sent: Family<Counter>,
    request_received: Family<Counter>,
    response_sent: Family<Counter>,
    response_received: Family<Counter>,
    latency: Family<Histogram>,
}

impl InvocationMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets) -> Self {
        let counter = |name: &str, help, labels| {
            registry.counter(&format!("runtime/service_invocation/{name}"), help, labels)
        };
        Self {
            request_sent: counter("req_sent_total", "Requests sent.", &["dst_app_id", "type"]),
            request_received: counter("req_recv_total", "Requests received.", &["src_app_id"]),
            response_sent: counter("res_sent_total", "Responses sent.", &["dst_app_id", "status"]),
            response_received: counter(
                "res_recv_total",
                "Responses received.",
                &["src_app_id", "status", "type"],
            ),
            latency: registry.histogram(
                "runtime/service_invocation/res_recv_latency_ms",
                "Time until the response, in milliseconds.",
                &["src_app_id", "status"],
                latency,
            ),
        }
    }

    pub fn request_sent(&self, to: &str, kind: MessageKind) {
        self.request_sent.with(&[to, kind.as_str()]).increment();
    }

    pub fn request_received(&self, from: &str) {
        self.request_received.with(&[from]).increment();
    }

    pub fn response_sent(&self, to: &str, status: u16) {
        self.response_sent.with(&[to, StatusText::new(status).as_str()]).increment();
    }

    pub fn response_received(&self, from: &str, status: u16, latency: Duration) {
        let status = StatusText::new(status);
        let status = status.as_str();
        self.response_received.with(&[from, status, MessageKind::Unary.as_str()]).increment();
        self.latency.with(&[from, status]).record(fractional_ms(latency));
    }

    /// The end of a streamed response, which has no latency.
    pub fn stream_received(&self, from: &str, status: u16) {
        let status = StatusText::new(status);
        let values = [from, status.as_str(), MessageKind::Streaming.as_str()];
        self.response_received.with(&values).increment();
    }
}
