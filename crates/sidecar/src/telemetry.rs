//! The metrics of one sidecar: registry, catalogue and what the start says
//! about them (runtime.md §9.1).

use std::sync::Arc;

use dapr_resiliency::core::State;
use dapr_resiliency::{Attachment, Meter, Observer, PolicyKind, Source};
use dapr_resources::configuration::{Configuration, MetricSpec};
use dapr_telemetry::metrics::catalogue::{Catalogue, CatalogueOptions, PolicySeries, ResiliencyLabels};
use dapr_telemetry::metrics::{
    HttpLabelOptions, LATENCY_BUCKETS_MS, LabelRule, Registry, RegistryOptions, Rule, format_float,
};
use serde_json::{Map, Value, json};

use crate::options::Options;

const SCOPE: &str = "dapr.runtime.diagnostics";

/// Both `None` when metrics are off.
pub struct Telemetry {
    pub registry: Option<Registry>,
    pub catalogue: Option<Arc<Catalogue>>,
}

impl Telemetry {
    pub fn new(options: &Options, config: &Configuration) -> Self {
        let spec = &config.metric;
        if options.listen.metrics.is_none() || !spec.is_enabled() {
            return Self { registry: None, catalogue: None };
        }
        announce(spec);
        let settings = RegistryOptions {
            app_id: Some(options.identity.app_id().to_owned()),
            rules: rules(spec),
            ..RegistryOptions::default()
        };
        let registry = Registry::new(settings.clone()).unwrap_or_else(|error| {
            tracing::error!(
                target: "dapr.runtime",
                "[INIT_FAILURE]: initialization error occurred for metrics: {error}"
            );
            Registry::without_rules(settings)
        });
        let buckets = spec.latency_distribution_buckets.as_deref().unwrap_or_default();
        let catalogue = Catalogue::new(
            &registry,
            &CatalogueOptions {
                namespace: options.identity.namespace_env().to_owned(),
                latency_buckets: buckets.iter().map(|b| *b as f64).collect(),
                http: HttpLabelOptions {
                    increased_cardinality: spec.increased_cardinality(),
                    path_matching: spec.path_matching().to_vec(),
                    exclude_verbs: spec.excludes_verbs(),
                },
                record_error_codes: spec.records_error_codes(),
            },
        );
        Self { registry: Some(registry), catalogue: Some(Arc::new(catalogue)) }
    }
}

fn rules(spec: &MetricSpec) -> Vec<Rule> {
    let label = |l: &dapr_resources::configuration::MetricLabel| LabelRule {
        name: l.name.clone(),
        regex: l.regex.clone().into_iter().collect(),
    };
    let rule = |r: &dapr_resources::configuration::MetricsRule| Rule {
        name: r.name.clone(),
        labels: r.labels.iter().map(label).collect(),
    };
    spec.rules.iter().map(rule).collect()
}

fn announce(spec: &MetricSpec) {
    tracing::info!(target: SCOPE, "metric spec: {}", to_json(spec));
    match spec.latency_distribution_buckets.as_deref() {
        None | Some([]) => {
            let buckets = listed(LATENCY_BUCKETS_MS.iter().map(|b| format_float(*b)));
            tracing::info!(target: SCOPE, "Using default latency distribution buckets: {buckets}");
        }
        Some(buckets) => {
            let buckets = listed(buckets.iter().map(i64::to_string));
            tracing::info!(target: SCOPE, "Using custom latency distribution buckets: {buckets}");
        }
    }
    if spec.http.as_ref().is_none_or(|http| http.increased_cardinality.is_none()) {
        tracing::warn!(
            target: SCOPE,
            "The default value for 'spec.metric.http.increasedCardinality' will change to 'false' in Dapr 1.15 or later"
        );
    }
}

/// A list as Go prints one.
fn listed(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(" "))
}

/// What is set, and nothing else.
fn to_json(spec: &MetricSpec) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("enabled", spec.enabled.map(Value::from));
    put("recordErrorCodes", spec.record_error_codes.map(Value::from));
    let http = spec.http.as_ref().map(|http| {
        let mut out = Map::new();
        if let Some(increased) = http.increased_cardinality {
            out.insert("increasedCardinality".to_owned(), increased.into());
        }
        if !http.path_matching.is_empty() {
            out.insert("pathMatching".to_owned(), http.path_matching.clone().into());
        }
        if let Some(exclude) = http.exclude_verbs {
            out.insert("excludeVerbs".to_owned(), exclude.into());
        }
        Value::Object(out)
    });
    put("http", http);
    put("latencyDistributionBuckets", spec.latency_distribution_buckets.clone().map(Value::from));
    let label = |l: &dapr_resources::configuration::MetricLabel| json!({"name": l.name, "regex": l.regex});
    let rule = |r: &dapr_resources::configuration::MetricsRule| json!({"name": r.name, "labels": r.labels.iter().map(label).collect::<Vec<_>>()});
    let rules: Vec<Value> = spec.rules.iter().map(rule).collect();
    put("rules", (!rules.is_empty()).then_some(Value::Array(rules)));
    Value::Object(out)
}

/// Records what policies do.
pub struct ResiliencyObserver(pub Arc<Catalogue>);

impl Observer for ResiliencyObserver {
    fn loaded(&self, source: &Source) {
        self.0.resiliency.loaded(&source.name, &source.namespace);
    }

    fn meter(&self, at: Attachment) -> Arc<dyn Meter> {
        Arc::new(PolicyMeter { metrics: self.0.clone(), at, series: PolicySeries::default() })
    }
}

struct PolicyMeter {
    metrics: Arc<Catalogue>,
    at: Attachment,
    series: PolicySeries,
}

impl Meter for PolicyMeter {
    fn attached(&self, kind: PolicyKind, state: Option<State>) {
        self.metrics.resiliency.attached(&self.series, labels(&self.at, kind, state));
    }

    fn activated(&self, kind: PolicyKind, state: Option<State>) {
        self.metrics.resiliency.activated(&self.series, labels(&self.at, kind, state));
    }
}

fn labels(at: &Attachment, kind: PolicyKind, state: Option<State>) -> ResiliencyLabels<'_> {
    ResiliencyLabels {
        name: &at.source.name,
        namespace: &at.source.namespace,
        policy: kind.as_str(),
        flow_direction: at.flow.as_str(),
        target: &at.target,
        state: state.map_or("", State::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_is_shown_as_it_was_given() {
        assert_eq!(to_json(&MetricSpec::default()).to_string(), "{}");
        let spec: MetricSpec = serde_json::from_value(json!({
            "enabled": true,
            "http": {"excludeVerbs": true},
            "latencyDistributionBuckets": [1, 5],
        }))
        .unwrap();
        let shown: Value = to_json(&spec);
        assert_eq!(
            shown,
            json!({"enabled": true, "http": {"excludeVerbs": true}, "latencyDistributionBuckets": [1, 5]})
        );
    }

    #[test]
    fn buckets_are_listed_as_go_lists_them() {
        let text = listed(LATENCY_BUCKETS_MS.iter().map(|b| format_float(*b)));
        assert!(text.starts_with("[1 2 3 4 5 6 8") && text.ends_with(" 50000 100000]"), "{text}");
    }
}
