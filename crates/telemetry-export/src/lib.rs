//! Takes finished spans, and metrics if asked to, to collectors: Zipkin, OTLP
//! over gRPC or HTTP, and the log (runtime.md §10).
//!
//! It must not know what is traced or counted, nor where its settings come
//! from. Nothing here makes a request wait: spans come from bounded queues,
//! and a collector that cannot be reached is named in the log once in a while.
//! Entry types: [`Settings`], [`Exporters`].
#![forbid(unsafe_code)]

mod collector;
mod endpoint;
mod metrics;
mod otlp;
mod stdout;
mod worker;
mod zipkin;

use std::sync::Arc;
use std::time::Duration;

use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::{Counter, Registry};
use dapr_telemetry::trace::{BatchLimits, SpanQueue};

pub use endpoint::{EndpointError, OtlpEndpoint, Protocol};
pub use metrics::MetricSettings;

/// What is exported, and where to.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Spans as lines of the log.
    pub stdout: bool,
    /// URL that Zipkin takes spans at.
    pub zipkin: Option<String>,
    pub otlp: Option<OtlpEndpoint>,
    pub metrics: Option<MetricSettings>,
    /// Who sends: `service.name` and whatever else.
    pub resource: Vec<(String, String)>,
    pub limits: BatchLimits,
}

/// The running exporters of one sidecar.
pub struct Exporters {
    queues: Vec<Arc<SpanQueue>>,
    /// Work that ends once its queue is empty.
    workers: TaskGroup,
    /// Connections, which must outlive the workers.
    connections: TaskGroup,
}

impl Exporters {
    /// Starts an exporter for each setting. `dropped` counts spans that were
    /// lost.
    pub fn start(settings: Settings, dropped: Option<Counter>) -> Result<Self, EndpointError> {
        let mut exporters = Self {
            queues: Vec::new(),
            workers: TaskGroup::new(Shutdown::new()),
            connections: TaskGroup::new(Shutdown::new()),
        };
        let limits = settings.limits;
        if settings.stdout {
            exporters.add(stdout::Stdout, limits, dropped.clone());
        }
        if let Some(url) = &settings.zipkin {
            let zipkin = zipkin::Zipkin::new(url, &settings.resource, &exporters.connections)?;
            exporters.add(zipkin, limits, dropped.clone());
        }
        if let Some(endpoint) = &settings.otlp {
            let otlp = otlp::Otlp::new(endpoint, &settings.resource, &exporters.connections)?;
            exporters.add(otlp, limits, dropped);
        }
        Ok(exporters)
    }

    /// Sends the registry's metrics from now on.
    pub fn start_metrics(
        &self,
        settings: &MetricSettings,
        resource: &[(String, String)],
        registry: Registry,
    ) -> Result<(), EndpointError> {
        let pusher = metrics::Pusher::new(settings, resource, registry, &self.connections)?;
        self.workers.spawn("OTLP metrics", pusher.run(self.workers.shutdown().clone()));
        Ok(())
    }

    fn add(&mut self, exporter: impl worker::Export, limits: BatchLimits, dropped: Option<Counter>) {
        let queue = Arc::new(SpanQueue::new(limits, dropped));
        self.queues.push(queue.clone());
        self.workers.spawn("span exporter", worker::run(exporter, queue, self.workers.shutdown().clone()));
    }

    /// What tracers give their spans to.
    pub fn queues(&self) -> Vec<Arc<SpanQueue>> {
        self.queues.clone()
    }

    /// Sends what waits and ends, within `limit`.
    pub async fn stop(&self, limit: Duration) {
        if !self.workers.stop(limit).await {
            tracing::warn!(target: worker::SCOPE, "Error flushing tracing provider: context deadline exceeded");
        }
        self.connections.stop(Duration::from_secs(1)).await;
    }
}
