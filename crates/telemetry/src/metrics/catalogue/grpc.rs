//! `grpc_io_*`.

use std::time::Duration;

use super::whole_ms;
use crate::metrics::family::{Buckets, Counter, Family, Histogram, SIZE_BUCKETS};
use crate::metrics::registry::{FAMILY_SERIES_LIMIT, Registry};
use crate::metrics::series::SeriesCache;

/// gRPC calls, served and made. Statuses are spelled `OK`, `NotFound`, ...
#[derive(Debug)]
pub struct GrpcMetrics {
    server: Side,
    client: Side,
    probe_count: Family<Counter>,
    probe_latency: Family<Histogram>,
}

/// Families of one side.
#[derive(Debug)]
struct Side {
    requests: Family<Histogram>,
    responses: Family<Histogram>,
    latency: Family<Histogram>,
    count: Family<Counter>,
    calls: SeriesCache<(Counter, Histogram)>,
    sizes: SeriesCache<(Histogram, Histogram)>,
}

impl Side {
    fn record(&self, method: &str, status: &str, latency: Duration) {
        let values = [method, status];
        let (count, took) =
            self.calls.get_or_make(&values, || (self.count.with(&values), self.latency.with(&values)));
        count.increment();
        took.record(whole_ms(latency));
    }

    fn record_sizes(&self, method: &str, request: u64, response: u64) {
        let (requests, responses) = self
            .sizes
            .get_or_make(&[method], || (self.requests.with(&[method]), self.responses.with(&[method])));
        requests.record(request as f64);
        responses.record(response as f64);
    }
}

impl GrpcMetrics {
    pub(super) fn new(registry: &Registry, latency: &Buckets) -> Self {
        let sizes = Buckets::new(SIZE_BUCKETS);
        let size = |name: &str, help, label| registry.histogram(name, help, &[label], &sizes);
        let server = &["grpc_server_method", "grpc_server_status"];
        let client = &["grpc_client_method", "grpc_client_status"];
        let took = "Time of a call, in milliseconds.";
        let received = "Bytes received in a call.";
        let sent = "Bytes sent in a call.";
        Self {
            server: Side {
                requests: size("grpc.io/server/received_bytes_per_rpc", received, server[0]),
                responses: size("grpc.io/server/sent_bytes_per_rpc", sent, server[0]),
                latency: registry.histogram("grpc.io/server/server_latency", took, server, latency),
                count: registry.counter("grpc.io/server/completed_rpcs", "Calls served.", server),
                calls: SeriesCache::new(FAMILY_SERIES_LIMIT),
                sizes: SeriesCache::new(FAMILY_SERIES_LIMIT),
            },
            client: Side {
                requests: size("grpc.io/client/sent_bytes_per_rpc", sent, client[0]),
                responses: size("grpc.io/client/received_bytes_per_rpc", received, client[0]),
                latency: registry.histogram("grpc.io/client/roundtrip_latency", took, client, latency),
                count: registry.counter("grpc.io/client/completed_rpcs", "Calls made.", client),
                calls: SeriesCache::new(FAMILY_SERIES_LIMIT),
                sizes: SeriesCache::new(FAMILY_SERIES_LIMIT),
            },
            probe_count: registry.counter(
                "grpc.io/healthprobes/completed_count",
                "Health probes.",
                &["grpc_client_status"],
            ),
            probe_latency: registry.histogram(
                "grpc.io/healthprobes/roundtrip_latency",
                "Time of a health probe, in milliseconds.",
                &["grpc_client_status"],
                latency,
            ),
        }
    }

    /// A unary call served. `method` is the full one, with its leading slash;
    /// a failed call has no response bytes.
    pub fn served(&self, method: &str, status: &str, received: u64, sent: u64, latency: Duration) {
        self.server.record(method, status, latency);
        self.server.record_sizes(method, received, sent);
    }

    /// A stream served: only for proxied calls from the application.
    pub fn served_stream(&self, method: &str, status: &str, latency: Duration) {
        self.server.record(method, status, latency);
    }

    /// A unary call made.
    pub fn called(&self, method: &str, status: &str, sent: u64, received: u64, latency: Duration) {
        self.client.record(method, status, latency);
        self.client.record_sizes(method, sent, received);
    }

    /// A proxied stream from another sidecar: counted among the calls made.
    pub fn called_stream(&self, method: &str, status: &str, latency: Duration) {
        self.client.record(method, status, latency);
    }

    /// A health probe of the application.
    pub fn probed(&self, status: &str, latency: Duration) {
        self.probe_count.with(&[status]).increment();
        self.probe_latency.with(&[status]).record(whole_ms(latency));
    }
}
