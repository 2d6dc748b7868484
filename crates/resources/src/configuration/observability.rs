use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::decode::fields::optional_duration;
use crate::metadata::DynamicValue;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TracingSpec {
    /// Fraction as text; empty when absent.
    pub sampling_rate: String,
    pub stdout: bool,
    pub zipkin: Option<ZipkinSpec>,
    pub otel: Option<OtelSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ZipkinSpec {
    pub endpoint_address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OtelSpec {
    /// `grpc` or `http`.
    pub protocol: String,
    pub endpoint_address: String,
    /// Absent means secure; see [`OtelSpec::secure`].
    pub is_secure: Option<bool>,
    /// `name=value` each.
    #[serde(deserialize_with = "headers")]
    pub headers: Vec<String>,
    #[serde(deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
}

impl OtelSpec {
    pub fn secure(&self) -> bool {
        self.is_secure.unwrap_or(true)
    }
}

/// A file lists `name=value`, a custom resource lists objects.
fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let items = Vec::<serde_json::Value>::deserialize(from)?;
    let text = |value: &serde_json::Value| DynamicValue::from(value).text();
    Ok(items
        .iter()
        .map(|item| match item.as_object() {
            None => text(item),
            Some(fields) => {
                let field = |name: &str| {
                    let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| text(value)).unwrap_or_default()
                };
                format!("{}={}", field("name"), field("value"))
            }
        })
        .collect())
}

/// Absent fields are `None`, so that `metrics` can be laid over `metric`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetricSpec {
    pub enabled: Option<bool>,
    pub record_error_codes: Option<bool>,
    pub http: Option<MetricHttp>,
    /// Upper bounds in milliseconds; absent or empty means the built-in ones.
    pub latency_distribution_buckets: Option<Vec<i64>>,
    pub rules: Vec<MetricsRule>,
}

impl MetricSpec {
    /// On unless switched off.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// Off unless switched on.
    pub fn records_error_codes(&self) -> bool {
        self.record_error_codes.unwrap_or(false)
    }

    /// Metrics carry the path and method of HTTP requests; on unless switched off.
    pub fn increased_cardinality(&self) -> bool {
        self.http.as_ref().and_then(|http| http.increased_cardinality).unwrap_or(true)
    }

    /// Off unless switched on.
    pub fn excludes_verbs(&self) -> bool {
        self.http.as_ref().and_then(|http| http.exclude_verbs).unwrap_or(false)
    }

    pub fn path_matching(&self) -> &[String] {
        self.http.as_ref().map_or(&[], |http| &http.path_matching)
    }

    pub(super) fn overlaid_by(self, upper: MetricSpec) -> Self {
        Self {
            enabled: upper.enabled.or(self.enabled),
            record_error_codes: upper.record_error_codes.or(self.record_error_codes),
            http: upper.http.or(self.http),
            latency_distribution_buckets: upper
                .latency_distribution_buckets
                .or(self.latency_distribution_buckets),
            rules: if upper.rules.is_empty() { self.rules } else { upper.rules },
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetricHttp {
    pub increased_cardinality: Option<bool>,
    pub path_matching: Vec<String>,
    pub exclude_verbs: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetricsRule {
    pub name: String,
    pub labels: Vec<MetricLabel>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetricLabel {
    pub name: String,
    /// Replacement -> regular expression.
    pub regex: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoggingSpec {
    pub api_logging: ApiLoggingSpec,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ApiLoggingSpec {
    pub enabled: bool,
    #[serde(rename = "obfuscateURLs")]
    pub obfuscate_urls: bool,
    pub omit_health_checks: bool,
}
