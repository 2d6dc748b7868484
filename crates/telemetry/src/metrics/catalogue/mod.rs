//! daprd's metrics (runtime.md §9.2): names, labels and how each is recorded.

mod components;
mod grpc;
mod http;
mod invocation;
mod resiliency;
mod runtime;
mod workflow;

use std::time::Duration;

pub use components::{ComponentMetrics, Operations, PubsubMetrics, operation};
pub use grpc::GrpcMetrics;
pub use http::{HttpClientMetrics, HttpServerMetrics};
pub use invocation::{InvocationMetrics, MessageKind};
pub use resiliency::{PolicySeries, ResiliencyLabels, ResiliencyMetrics};
pub use runtime::{AclMetrics, ActorMetrics, MtlsMetrics, RuntimeMetrics};
pub use workflow::WorkflowMetrics;

use super::family::{Buckets, Counter, Family, Histogram, LATENCY_BUCKETS_MS};
use super::http_path::HttpLabelOptions;
use super::registry::{FAMILY_SERIES_LIMIT, Registry};
use super::series::SeriesCache;

/// Configuration of the catalogue (`spec.metric`).
#[derive(Clone, Debug, Default)]
pub struct CatalogueOptions {
    /// Value of the label `namespace`: the environment's as it is, empty when unset.
    pub namespace: String,
    /// `latencyDistributionBuckets` in milliseconds; empty for the default.
    pub latency_buckets: Vec<f64>,
    pub http: HttpLabelOptions,
    /// `recordErrorCodes`.
    pub record_error_codes: bool,
}

/// Every recorder of daprd.
#[derive(Debug)]
pub struct Catalogue {
    pub runtime: RuntimeMetrics,
    pub mtls: MtlsMetrics,
    pub actors: ActorMetrics,
    pub acl: AclMetrics,
    pub invocation: InvocationMetrics,
    pub grpc: GrpcMetrics,
    pub http_server: HttpServerMetrics,
    pub http_client: HttpClientMetrics,
    pub components: ComponentMetrics,
    pub resiliency: ResiliencyMetrics,
    pub workflow: WorkflowMetrics,
    /// Only with `record_error_codes`.
    pub errors: Option<ErrorMetrics>,
}

impl Catalogue {
    /// Declares every family. A registry takes one catalogue.
    pub fn new(registry: &Registry, options: &CatalogueOptions) -> Self {
        let latency = match &*options.latency_buckets {
            [] => Buckets::new(LATENCY_BUCKETS_MS),
            bounds => Buckets::new(bounds),
        };
        let namespace = &*options.namespace;
        Self {
            runtime: RuntimeMetrics::new(registry),
            mtls: MtlsMetrics::new(registry),
            actors: ActorMetrics::new(registry),
            acl: AclMetrics::new(registry),
            invocation: InvocationMetrics::new(registry, &latency),
            grpc: GrpcMetrics::new(registry, &latency),
            http_server: HttpServerMetrics::new(registry, &latency, &options.http),
            http_client: HttpClientMetrics::new(registry, &latency, &options.http),
            components: ComponentMetrics::new(registry, &latency, namespace),
            resiliency: ResiliencyMetrics::new(registry),
            workflow: WorkflowMetrics::new(registry, &latency, namespace),
            errors: options.record_error_codes.then(|| ErrorMetrics::new(registry)),
        }
    }
}

/// `error_code_total`.
#[derive(Debug)]
pub struct ErrorMetrics(Family<Counter>);

impl ErrorMetrics {
    fn new(registry: &Registry) -> Self {
        let labels = &["category", "error_code"];
        Self(registry.counter("error_code/total", "Errors answered, by error code.", labels))
    }

    pub fn record(&self, category: &str, code: &str) {
        self.0.with(&[category, code]).increment();
    }
}

/// A count and a latency with the same labels, as most areas have them.
#[derive(Clone, Debug)]
pub struct Timed {
    count: Counter,
    latency: Histogram,
}

impl Timed {
    /// Counts one; a latency of zero is not recorded.
    pub fn record(&self, latency: Duration) {
        self.count.increment();
        if !latency.is_zero() {
            self.latency.record(fractional_ms(latency));
        }
    }
}

#[derive(Debug)]
struct TimedFamily {
    count: Family<Counter>,
    latency: Family<Histogram>,
    cache: SeriesCache<Timed>,
}

impl TimedFamily {
    fn new(count: Family<Counter>, latency: Family<Histogram>) -> Self {
        Self { count, latency, cache: SeriesCache::new(FAMILY_SERIES_LIMIT) }
    }

    fn with(&self, values: &[&str]) -> Timed {
        self.cache.get_or_make(values, || Timed {
            count: self.count.with(values),
            latency: self.latency.with(values),
        })
    }
}

/// Milliseconds with their fraction: component and invocation latencies.
fn fractional_ms(latency: Duration) -> f64 {
    latency.as_nanos() as f64 / 1e6
}

/// Whole milliseconds, cut off: HTTP and gRPC latencies.
fn whole_ms(latency: Duration) -> f64 {
    latency.as_millis() as f64
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

#[cfg(test)]
mod tests;
