//! From resources to tables: parsing, merging, built-in policies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dapr_gocompat::duration::{format_duration, parse_signed};
use dapr_gocompat::quote::quote;
use dapr_resources::Resiliency;
use dapr_resources::resiliency::{self as spec, PolicyNames};

use crate::core::{Backoff, BreakerConfig, RetryConfig};
use crate::observe::{Observer, Source};
use crate::policy::SCOPE;
use crate::resolve::{Builtin, Policies};
use crate::status::{Matching, PatternError};
use crate::trip::Trip;

/// Delay of a constant retry and longest delay of an exponential one, where
/// the resource gives none.
const DEFAULT_DELAY: Duration = Duration::from_secs(5);
const DEFAULT_MAX_INTERVAL: Duration = Duration::from_secs(60);
/// A built-in policy may be overridden but not below this many retries.
const MIN_BUILTIN_RETRIES: u64 = 3;

/// Breakers kept per target, where the resource gives no number.
const APP_CACHE_SIZE: usize = 100;
const ACTOR_CACHE_SIZE: usize = 5000;

/// Why a resource was not read; the text follows
/// `Could not read resiliency policy NAME: ` in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("invalid duration {}, {text}: {reason}", quote(.name))]
    Timeout { name: String, text: String, reason: String },
    /// Also used for breakers: that is how users know the text.
    #[error("invalid retry configuration {}: {details}", quote(.name))]
    Policy { name: String, details: String },
    #[error(transparent)]
    Matching(#[from] PatternError),
    #[error("actor circuit breakers must include scope")]
    ScopeMissing,
    #[error("unknown circuit breaker scope {}", quote(.0))]
    ScopeUnknown(String),
    #[error("circuit breaker cache size of target {0} must be positive")]
    CacheSize(String),
}

/// Something in a resource that was not taken over as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("Attempted override of {0} did not meet minimum retry count, resetting to 3.")]
    TooFewRetries(String),
    #[error(
        "Attempted to override protected policy {0} which is not allowed. Ignoring provided policy and using default."
    )]
    Protected(String),
}

#[derive(Clone, Debug)]
pub(crate) struct BreakerTemplate {
    pub(crate) config: BreakerConfig,
    pub(crate) trip: Trip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActorScope {
    Type,
    /// `id` and `both`: one breaker per actor.
    Id,
}

#[derive(Clone, Debug)]
pub(crate) struct AppEntry {
    pub(crate) names: PolicyNames,
    pub(crate) cache_size: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct ActorEntry {
    pub(crate) names: PolicyNames,
    pub(crate) scope: ActorScope,
    pub(crate) cache_size: usize,
}

/// Everything that was read, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) timeouts: HashMap<String, Duration>,
    pub(crate) retries: HashMap<String, Arc<RetryConfig>>,
    pub(crate) breakers: HashMap<String, BreakerTemplate>,
    pub(crate) apps: HashMap<String, AppEntry>,
    pub(crate) actors: HashMap<String, ActorEntry>,
    pub(crate) components: HashMap<String, spec::ComponentPolicyNames>,
    pub(crate) source: Source,
}

/// Collects resources into one [`Policies`]. Later resources overwrite
/// policies and targets of the same name.
pub struct PoliciesBuilder {
    tables: Tables,
    observer: Option<Arc<dyn Observer>>,
}

impl Default for PoliciesBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PoliciesBuilder {
    /// Starts with the built-in policies.
    pub fn new() -> Self {
        let mut tables = Tables::default();
        for builtin in Builtin::ALL {
            tables.retries.insert(builtin.name().to_owned(), Arc::new(builtin_retry(builtin)));
        }
        Self { tables, observer: None }
    }

    /// Reports to `observer`, which turns on the metrics of the policies built.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Adds a resource whole or, on an error, not at all.
    pub fn add(&mut self, resource: &Resiliency) -> Result<Vec<Warning>, LoadError> {
        self.tables.source = Source { name: resource.name.clone(), namespace: resource.namespace.clone() };
        let mut next = self.tables.clone();
        let warnings = next.merge_policies(&resource.policies)?;
        next.merge_targets(&resource.targets)?;
        self.tables = next;
        if let Some(observer) = &self.observer {
            observer.loaded(&self.tables.source);
        }
        Ok(warnings)
    }

    /// Adds a resource and writes what came of it to the log: an invalid one
    /// is skipped.
    pub fn load(&mut self, resource: &Resiliency) {
        let name = &resource.name;
        tracing::info!(target: SCOPE, "Loading Resiliency configuration: {name}");
        tracing::debug!(target: SCOPE, "Resiliency configuration ({name}): {resource:?}");
        match self.add(resource) {
            Ok(warnings) => warnings.iter().for_each(|w| tracing::warn!(target: SCOPE, "{w}")),
            Err(error) => tracing::error!(target: SCOPE, "Could not read resiliency policy {name}: {error}"),
        }
    }

    pub fn build(self) -> Policies {
        Policies::new(self.tables, self.observer)
    }
}

fn builtin_retry(builtin: Builtin) -> RetryConfig {
    let second = Duration::from_secs(1);
    match builtin {
        Builtin::ServiceRetries | Builtin::ActorRetries => RetryConfig::constant(second, Some(3)),
        Builtin::ActorReminderRetries => RetryConfig::exponential(DEFAULT_MAX_INTERVAL, Some(0)),
        Builtin::ActorNotFoundRetries => RetryConfig::constant(second, Some(5)),
        Builtin::InitializationRetries => RetryConfig {
            backoff: Backoff::Exponential {
                initial: Duration::from_millis(500),
                multiplier: 1.5,
                jitter: 0.5,
                max_interval: second,
                max_elapsed: Duration::from_secs(10),
            },
            max_retries: Some(3),
            matching: Matching::default(),
        },
    }
}

impl Tables {
    fn merge_policies(&mut self, policies: &spec::Policies) -> Result<Vec<Warning>, LoadError> {
        let mut warnings = Vec::new();
        for (name, text) in &policies.timeouts {
            let limit = parse_millis_or_duration(text).map_err(|reason| LoadError::Timeout {
                name: name.clone(),
                text: text.clone(),
                reason,
            })?;
            self.timeouts.insert(name.clone(), limit);
        }
        for (name, retry) in &policies.retries {
            let mut config = parse_retry(name, retry)?;
            match Builtin::from_name(name) {
                Some(Builtin::ActorNotFoundRetries) => {
                    warnings.push(Warning::Protected(name.clone()));
                    continue;
                }
                Some(_) if config.max_retries.is_none_or(|n| n < MIN_BUILTIN_RETRIES) => {
                    warnings.push(Warning::TooFewRetries(name.clone()));
                    config.max_retries = Some(MIN_BUILTIN_RETRIES);
                }
                _ => {}
            }
            if let Some(codes) = &retry.matching {
                config.matching = Matching::parse(&codes.http_status_codes, &codes.grpc_status_codes)?;
            }
            self.retries.insert(name.clone(), Arc::new(config));
        }
        for (name, breaker) in &policies.circuit_breakers {
            self.breakers.insert(name.clone(), parse_breaker(name, breaker)?);
        }
        Ok(warnings)
    }

    fn merge_targets(&mut self, targets: &spec::Targets) -> Result<(), LoadError> {
        for (name, app) in &targets.apps {
            let cache_size = cache_size(name, app.circuit_breaker_cache_size, APP_CACHE_SIZE)?;
            self.apps.insert(name.clone(), AppEntry { names: app.names(), cache_size });
        }
        for (name, actor) in &targets.actors {
            let scope = parse_scope(actor)?;
            let cache_size = cache_size(name, actor.circuit_breaker_cache_size, ACTOR_CACHE_SIZE)?;
            self.actors.insert(name.clone(), ActorEntry { names: actor.names(), scope, cache_size });
        }
        for (name, component) in &targets.components {
            self.components.insert(name.clone(), component.clone());
        }
        Ok(())
    }
}

/// Milliseconds or a Go duration; negative values act as zero.
fn parse_millis_or_duration(text: &str) -> Result<Duration, String> {
    let nanos = match text.parse::<i64>() {
        Ok(millis) => millis.saturating_mul(1_000_000),
        Err(_) => parse_signed(text).map_err(|e| e.to_string())?,
    };
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// Collects what is wrong with the fields of one policy and words it as users
/// know it from Dapr's logs.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn duration(&mut self, field: &str, text: &str, default: Duration) -> Duration {
        if text.is_empty() {
            return default;
        }
        parse_millis_or_duration(text).unwrap_or_else(|_| {
            self.add(field, &format!("invalid duration {}", quote(text)));
            default
        })
    }

    fn add(&mut self, field: &str, reason: &str) {
        self.0.push(format!("error decoding '{field}': {reason}"));
    }

    fn check(self, name: &str) -> Result<(), LoadError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut faults = self.0;
        faults.sort();
        let list: Vec<String> = faults.iter().map(|f| format!("* {f}")).collect();
        let details = format!("{} error(s) decoding:\n\n{}", list.len(), list.join("\n"));
        Err(LoadError::Policy { name: name.to_owned(), details })
    }
}

fn parse_retry(name: &str, retry: &spec::Retry) -> Result<RetryConfig, LoadError> {
    let mut faults = Faults::default();
    let delay = faults.duration("duration", &retry.duration, DEFAULT_DELAY);
    let max_interval = faults.duration("maxInterval", &retry.max_interval, DEFAULT_MAX_INTERVAL);
    let backoff = match retry.policy.to_lowercase().as_str() {
        "" | "constant" => Backoff::Constant(delay),
        "exponential" => Backoff::exponential(max_interval),
        _ => {
            let policy = &retry.policy;
            let reason =
                format!("invalid PolicyType {}: unexpected back off policy type: {policy}", quote(policy));
            faults.add("policy", &reason);
            Backoff::Constant(delay)
        }
    };
    faults.check(name)?;
    let max_retries = retry.max_retries.and_then(|n| u64::try_from(n).ok());
    Ok(RetryConfig { backoff, max_retries, matching: Matching::default() })
}

fn parse_breaker(name: &str, breaker: &spec::CircuitBreaker) -> Result<BreakerTemplate, LoadError> {
    let mut faults = Faults::default();
    let interval = faults.duration("interval", &breaker.interval, Duration::ZERO);
    let open_for = faults.duration("timeout", &breaker.timeout, Duration::ZERO);
    let max_requests = u32::try_from(breaker.max_requests).unwrap_or_else(|_| {
        faults.0.push(format!("cannot parse 'maxRequests', {} overflows uint", breaker.max_requests));
        0
    });
    let trip = Trip::compile(&breaker.trip).unwrap_or_else(|reason| {
        faults.add("trip", &format!("invalid Expr {}: {reason}", quote(&breaker.trip)));
        Trip::default()
    });
    faults.check(name)?;
    Ok(BreakerTemplate { config: BreakerConfig::new(max_requests, interval, open_for), trip })
}

fn parse_scope(actor: &spec::ActorPolicyNames) -> Result<ActorScope, LoadError> {
    if actor.circuit_breaker.is_empty() {
        return Ok(ActorScope::Type);
    }
    match actor.circuit_breaker_scope.as_str() {
        "" => Err(LoadError::ScopeMissing),
        "type" => Ok(ActorScope::Type),
        "id" | "both" => Ok(ActorScope::Id),
        other => Err(LoadError::ScopeUnknown(other.to_owned())),
    }
}

fn cache_size(target: &str, given: i64, default: usize) -> Result<usize, LoadError> {
    match usize::try_from(given) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size),
        Err(_) => Err(LoadError::CacheSize(target.to_owned())),
    }
}

/// A retry policy in one line, for people.
pub(crate) fn describe_retry(config: &RetryConfig) -> String {
    let spacing = match config.backoff {
        Backoff::Constant(delay) => format!("every {}", format_duration(delay)),
        Backoff::Exponential { initial, max_interval, .. } => {
            format!("exponential from {} to {}", format_duration(initial), format_duration(max_interval))
        }
    };
    match config.max_retries {
        None => format!("{spacing}, without end"),
        Some(n) => format!("{spacing}, {n} times"),
    }
}

/// A breaker policy in one line, for people.
pub(crate) fn describe_breaker(template: &BreakerTemplate) -> String {
    let config = &template.config;
    let interval = config.interval().map_or("never".to_owned(), |d| format!("every {}", format_duration(d)));
    format!(
        "opens when {}, for {}; closes after {} success(es); counts reset {interval}",
        template.trip,
        format_duration(config.open_for()),
        config.max_requests()
    )
}

#[cfg(test)]
#[path = "policies_tests.rs"]
mod tests;
