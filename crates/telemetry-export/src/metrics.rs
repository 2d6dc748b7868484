//! Metrics over OTLP, beside the scraped ones. Dapr has no such thing; here
//! the standard variables for metrics turn it on (docs/observability.md).

use std::time::{Duration, SystemTime};

use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::{FamilyReading, Registry, Sample, SeriesReading};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::collector::{OtlpClient, Signal};
use crate::endpoint::{EndpointError, OtlpEndpoint};
use crate::otlp::{SCHEMA_URL, SCOPE_NAME, text, to_resource, unix_nanos};
use crate::worker::Complaints;

const METRICS: Signal =
    Signal { method: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", path: "/v1/metrics" };

/// Where metrics go, and how often.
#[derive(Clone, Debug)]
pub struct MetricSettings {
    pub endpoint: OtlpEndpoint,
    pub interval: Duration,
}

pub struct Pusher {
    client: OtlpClient,
    resource: Resource,
    registry: Registry,
    interval: Duration,
    since: SystemTime,
}

impl Pusher {
    pub fn new(
        settings: &MetricSettings,
        resource: &[(String, String)],
        registry: Registry,
        tasks: &TaskGroup,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            client: OtlpClient::new(&settings.endpoint, METRICS, tasks)?,
            resource: to_resource(resource),
            registry,
            interval: settings.interval,
            since: SystemTime::now(),
        })
    }

    /// Sends every interval and once more at the end.
    pub async fn run(self, stop: Shutdown) {
        let mut complaints = Complaints::default();
        loop {
            let stopping = stop.guard(tokio::time::sleep(self.interval)).await.is_none();
            if let Err(error) = self.client.send(&self.request()).await {
                complaints.add("the OTLP collector for metrics", &error);
            }
            if stopping {
                return;
            }
        }
    }

    fn request(&self) -> ExportMetricsServiceRequest {
        let (since, now) = (unix_nanos(self.since), unix_nanos(SystemTime::now()));
        let metrics = self.registry.read().iter().map(|family| to_metric(family, since, now)).collect();
        let scope = InstrumentationScope { name: SCOPE_NAME.to_owned(), ..InstrumentationScope::default() };
        let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() };
        let resource_metrics = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![scope_metrics],
            schema_url: SCHEMA_URL.to_owned(),
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
    }
}

fn to_metric(family: &FamilyReading, since: u64, now: u64) -> Metric {
    let temporality = AggregationTemporality::Cumulative as i32;
    let numbers = || family.series.iter().filter_map(|s| number(s, since, now)).collect();
    let data = match family.kind {
        "counter" => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        "histogram" => metric::Data::Histogram(Histogram {
            data_points: family.series.iter().filter_map(|s| distribution(s, since, now)).collect(),
            aggregation_temporality: temporality,
        }),
        _ => metric::Data::Gauge(Gauge { data_points: numbers() }),
    };
    Metric {
        name: family.name.clone(),
        description: family.help.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(series: &SeriesReading, since: u64, now: u64) -> Option<NumberDataPoint> {
    let Sample::Number(value) = series.sample else { return None };
    Some(NumberDataPoint {
        attributes: series.labels.iter().map(|(k, v)| text(k, v)).collect(),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn distribution(series: &SeriesReading, since: u64, now: u64) -> Option<HistogramDataPoint> {
    let Sample::Distribution { bounds, count, sum } = &series.sample else { return None };
    let mut below = 0;
    let mut counts: Vec<u64> = Vec::with_capacity(bounds.len() + 1);
    for (_, cumulative) in bounds {
        counts.push(cumulative - below);
        below = *cumulative;
    }
    counts.push(count - below);
    Some(HistogramDataPoint {
        attributes: series.labels.iter().map(|(k, v)| text(k, v)).collect(),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: *count,
        sum: Some(*sum),
        bucket_counts: counts,
        explicit_bounds: bounds.iter().map(|(bound, _)| *bound).collect(),
        ..HistogramDataPoint::default()
    })
}

#[cfg(test)]
mod tests {
    use dapr_telemetry::metrics::{Buckets, RegistryOptions};

    use super::*;

    #[test]
    fn families_become_metrics() {
        let registry =
            Registry::new(RegistryOptions { app_id: Some("a".to_owned()), ..RegistryOptions::default() })
                .unwrap();
        registry.counter("calls", "Calls.", &["status"]).with(&["ok"]).increment();
        let latency = registry.histogram("latency", "Latency.", &[], &Buckets::new(&[1.0, 5.0]));
        [0.5, 2.0, 3.0, 9.0].into_iter().for_each(|v| latency.with(&[]).record(v));
        let metrics: Vec<Metric> = registry.read().iter().map(|family| to_metric(family, 1, 2)).collect();
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("not a sum") };
        assert_eq!((metrics[0].name.as_str(), sum.is_monotonic), ("dapr_calls", true));
        assert_eq!(sum.data_points[0].attributes, [text("status", "ok"), text("app_id", "a")]);
        let Some(metric::Data::Histogram(histogram)) = &metrics[1].data else { panic!("not a histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts.as_slice()), (4, Some(14.5), &[1, 2, 1][..]));
    }
}
