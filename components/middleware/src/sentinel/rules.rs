//! Rules as their JSON has them (components.md §12).

use dapr_components::{InitError, Properties};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const SCOPE: &str = "dapr.middleware.http.sentinel";

/// Everything that was configured, of which only valid rules are kept.
#[derive(Debug, Default)]
pub struct Rules {
    pub flow: Vec<FlowRule>,
    pub isolation: Vec<IsolationRule>,
    pub breakers: Vec<BreakerRule>,
    pub system: Vec<SystemRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FlowRule {
    pub resource: String,
    /// 0 as configured, 1 warming up, 2 by memory.
    pub token_calculate_strategy: i32,
    /// 0 refuses, 1 makes wait.
    pub control_behavior: i32,
    pub threshold: f64,
    /// 1 counts the requests of `ref_resource` instead.
    pub relation_strategy: i32,
    pub ref_resource: String,
    pub max_queueing_time_ms: u32,
    pub warm_up_period_sec: u32,
    pub warm_up_cold_factor: u32,
    pub stat_interval_in_ms: u32,
    pub low_mem_usage_threshold: i64,
    pub high_mem_usage_threshold: i64,
    pub mem_low_water_mark_bytes: i64,
    pub mem_high_water_mark_bytes: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IsolationRule {
    pub resource: String,
    /// Only 0, concurrency.
    pub metric_type: i32,
    pub threshold: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BreakerRule {
    pub resource: String,
    /// 0 share of slow answers, 1 share of errors, 2 number of errors.
    pub strategy: u32,
    pub retry_timeout_ms: u32,
    pub min_request_amount: u64,
    pub stat_interval_ms: u32,
    pub stat_sliding_window_bucket_count: u32,
    pub max_allowed_rt_ms: u64,
    pub threshold: f64,
    pub probe_num: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SystemRule {
    /// 0 load, 1 average time, 2 concurrency, 3 requests per second, 4 CPU.
    pub metric_type: u32,
    pub trigger_count: f64,
    /// 1 refuses only when more is under way than the host has been able to do.
    pub strategy: i32,
}

impl Rules {
    /// Text that is no array of rules is an error; a rule that makes no sense
    /// is left out with a warning.
    pub fn read(properties: &Properties) -> Result<Self, InitError> {
        // These speak of parameters, which requests do not have: read only so
        // that mistakes are found.
        let _: Vec<serde_json::Map<String, serde_json::Value>> =
            list(properties, "hotSpotParamRules", "hotspot param", |_| None)?;
        Ok(Self {
            flow: list(properties, "flowRules", "flow", FlowRule::problem)?,
            isolation: list(properties, "isolationRules", "isolation", IsolationRule::problem)?,
            breakers: list(properties, "circuitBreakerRules", "circuit breaker", BreakerRule::problem)?,
            system: list(properties, "systemRules", "system", SystemRule::problem)?,
        })
    }
}

fn list<R: DeserializeOwned + std::fmt::Debug>(
    properties: &Properties,
    name: &str,
    kind: &str,
    problem: fn(&R) -> Option<&'static str>,
) -> Result<Vec<R>, InitError> {
    let text = properties.get(name).unwrap_or_default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rules: Option<Vec<R>> = serde_json::from_str(text)
        .map_err(|e| InitError::new(format!("fail to load sentinel {kind} rules '{text}': {e}")))?;
    let valid = |rule: &R| match problem(rule) {
        None => true,
        Some(reason) => {
            tracing::warn!(target: SCOPE, "A {kind} rule is left out, {reason}: {rule:?}");
            false
        }
    };
    Ok(rules.unwrap_or_default().into_iter().filter(valid).collect())
}

/// The first sentence that is true is the problem.
fn first(problems: &[(bool, &'static str)]) -> Option<&'static str> {
    problems.iter().find(|(there, _)| *there).map(|(_, text)| *text)
}

impl FlowRule {
    fn problem(&self) -> Option<&'static str> {
        let (warming, by_memory) = (self.token_calculate_strategy == 1, self.token_calculate_strategy == 2);
        let low_mark = self.mem_low_water_mark_bytes;
        first(&[
            (self.resource.is_empty(), "empty resource"),
            (self.threshold < 0.0, "negative threshold"),
            (!(0..=2).contains(&self.token_calculate_strategy), "unknown tokenCalculateStrategy"),
            (!(0..=1).contains(&self.control_behavior), "unknown controlBehavior"),
            (!(0..=1).contains(&self.relation_strategy), "invalid relationStrategy"),
            (
                self.relation_strategy == 1 && self.ref_resource.is_empty(),
                "refResource must be set when relationStrategy is 1",
            ),
            (warming && self.warm_up_period_sec == 0, "warmUpPeriodSec must be greater than 0"),
            (warming && self.warm_up_cold_factor == 1, "warmUpColdFactor must be greater than 1"),
            (by_memory && self.low_mem_usage_threshold <= 0, "lowMemUsageThreshold must be greater than 0"),
            (by_memory && self.high_mem_usage_threshold <= 0, "highMemUsageThreshold must be greater than 0"),
            (
                by_memory && self.high_mem_usage_threshold >= self.low_mem_usage_threshold,
                "highMemUsageThreshold must be below lowMemUsageThreshold",
            ),
            (by_memory && low_mark <= 0, "memLowWaterMarkBytes must be greater than 0"),
            (
                by_memory && low_mark >= self.mem_high_water_mark_bytes,
                "memHighWaterMarkBytes must be above memLowWaterMarkBytes",
            ),
        ])
    }
}

impl IsolationRule {
    fn problem(&self) -> Option<&'static str> {
        first(&[
            (self.resource.is_empty(), "empty resource"),
            (self.metric_type != 0, "unsupported metricType"),
            (self.threshold == 0, "zero threshold"),
        ])
    }
}

impl BreakerRule {
    fn problem(&self) -> Option<&'static str> {
        first(&[
            (self.resource.is_empty(), "empty resource"),
            (self.strategy > 2, "unknown strategy"),
            (self.stat_interval_ms == 0, "invalid statIntervalMs"),
            (self.retry_timeout_ms == 0, "invalid retryTimeoutMs"),
            (self.threshold < 0.0, "invalid threshold"),
            (self.strategy < 2 && self.threshold > 1.0, "a ratio is between 0 and 1"),
        ])
    }
}

impl SystemRule {
    fn problem(&self) -> Option<&'static str> {
        first(&[
            (self.trigger_count < 0.0, "negative threshold"),
            (self.metric_type > 4, "invalid metricType"),
            (self.metric_type == 4 && self.trigger_count > 1.0, "CPU usage is between 0 and 1"),
        ])
    }
}
