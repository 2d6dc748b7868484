//! `http_server_*`, `http_client_*`, `http_healthprobes_*`.

use std::time::Duration;

use super::whole_ms;
use crate::metrics::family::{Buckets, Counter, Family, Histogram, SIZE_BUCKETS};
use crate::metrics::http_path::{HttpLabelOptions, HttpLabels};
use crate::metrics::registry::{FAMILY_SERIES_LIMIT, Registry};
use crate::metrics::series::SeriesCache;

const LABELS: &[&str] = &["method", "path", "status"];

/// Requests that the sidecar serves.
#[derive(Debug)]
pub struct HttpServerMetrics {
    labels: HttpLabels,
    count: Family<Counter>,
    latency: Family<Histogram>,
    /// Only with increased cardinality.
    responses: Option<Family<Counter>>,
    request_bytes: Histogram,
    response_bytes: Histogram,
    cache: SeriesCache<ServerSeries>,
}

#[derive(Clone, Debug)]
struct ServerSeries {
    count: Counter,
    latency: Histogram,
    responses: Option<Counter>,
}

impl HttpServerMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets, options: &HttpLabelOptions) -> Self {
        let labels = HttpLabels::new(options);
        let sizes = Buckets::new(SIZE_BUCKETS);
        let size = |name: &str, help| registry.histogram(name, help, &[], &sizes).with(&[]);
        let responses = labels
            .increased_cardinality()
            .then(|| registry.counter("http/server/response_count", "HTTP responses.", LABELS));
        Self {
            labels,
            count: registry.counter("http/server/request_count", "HTTP requests served.", LABELS),
            latency: registry.histogram(
                "http/server/latency",
                "Time to serve an HTTP request, in milliseconds.",
                LABELS,
                latency,
            ),
            responses,
            request_bytes: size("http/server/request_bytes", "Content length of HTTP requests."),
            response_bytes: size("http/server/response_bytes", "Body size of HTTP responses."),
            cache: SeriesCache::new(FAMILY_SERIES_LIMIT),
        }
    }

    /// Records a served request. `request_bytes` is its Content-Length, zero
    /// without one.
    pub fn record(
        &self,
        method: &str,
        path: &str,
        status: u16,
        latency: Duration,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let path = self.labels.server_path(path);
        let status = StatusText::new(status);
        let values = [self.labels.method(method), &*path, status.as_str()];
        let series = self.cache.get_or_make(&values, || ServerSeries {
            count: self.count.with(&values),
            latency: self.latency.with(&values),
            responses: self.responses.as_ref().map(|f| f.with(&values)),
        });
        series.count.increment();
        series.latency.record(whole_ms(latency));
        if let Some(responses) = &series.responses {
            responses.increment();
        }
        self.request_bytes.record(request_bytes as f64);
        self.response_bytes.record(response_bytes as f64);
    }
}

/// Calls to the application over HTTP, and its health probes.
#[derive(Debug)]
pub struct HttpClientMetrics {
    labels: HttpLabels,
    sent_bytes: Family<Histogram>,
    received_bytes: Histogram,
    latency: Family<Histogram>,
    count: Family<Counter>,
    probe_latency: Family<Histogram>,
    probe_count: Family<Counter>,
    cache: SeriesCache<(Counter, Histogram)>,
}

impl HttpClientMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets, options: &HttpLabelOptions) -> Self {
        let sizes = Buckets::new(SIZE_BUCKETS);
        let sent = "Body size of HTTP requests to the application.";
        let received = "Body size of HTTP responses of the application.";
        let took = "Time of an HTTP call to the application, in milliseconds.";
        let probe_took = "Time of a health probe, in milliseconds.";
        Self {
            labels: HttpLabels::new(options),
            sent_bytes: registry.histogram("http/client/sent_bytes", sent, LABELS, &sizes),
            received_bytes: registry.histogram("http/client/received_bytes", received, &[], &sizes).with(&[]),
            latency: registry.histogram("http/client/roundtrip_latency", took, LABELS, latency),
            count: registry.counter("http/client/completed_count", "HTTP calls to the application.", LABELS),
            probe_latency: registry.histogram(
                "http/healthprobes/roundtrip_latency",
                probe_took,
                &["status"],
                latency,
            ),
            probe_count: registry.counter("http/healthprobes/completed_count", "Health probes.", &["status"]),
            cache: SeriesCache::new(FAMILY_SERIES_LIMIT),
        }
    }

    /// Records that a call begins. `method` is the path that is called.
    pub fn started(&self, verb: &str, method: &str, sent_bytes: u64) {
        let path = self.labels.client_path(method);
        self.sent_bytes.with(&[self.labels.method(verb), &path, ""]).record(sent_bytes as f64);
    }

    /// Records that a call ended.
    pub fn completed(&self, verb: &str, method: &str, status: u16, received_bytes: u64, latency: Duration) {
        let path = self.labels.client_path(method);
        let status = StatusText::new(status);
        let values = [self.labels.method(verb), &*path, status.as_str()];
        let (count, took) =
            self.cache.get_or_make(&values, || (self.count.with(&values), self.latency.with(&values)));
        count.increment();
        took.record(whole_ms(latency));
        self.received_bytes.record(received_bytes as f64);
    }

    /// Records a health probe.
    pub fn probed(&self, status: u16, latency: Duration) {
        let status = StatusText::new(status);
        self.probe_count.with(&[status.as_str()]).increment();
        self.probe_latency.with(&[status.as_str()]).record(whole_ms(latency));
    }
}

/// A status code as text, without allocating.
pub(super) struct StatusText {
    digits: [u8; 5],
    start: usize,
}

impl StatusText {
    pub(super) fn new(mut code: u16) -> Self {
        let (mut digits, mut start) = ([b'0'; 5], 5);
        loop {
            start -= 1;
            digits[start] = b'0' + (code % 10) as u8;
            code /= 10;
            if code == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.start..]).expect("digits are ASCII")
    }
}
