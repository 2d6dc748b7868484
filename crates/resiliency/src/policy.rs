//! The policy of one call, and running a call under it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dapr_gocompat::duration::format_duration;

use crate::breaker::CircuitBreaker;
use crate::core::{Decision, Failure, Rejection, Retry, RetryConfig, State};
use crate::observe::{Meter, PolicyKind};
use crate::status::StatusCode;

/// Log scope: policies are loaded by the runtime and log under its name.
pub(crate) const SCOPE: &str = "dapr.runtime";

/// What a call's error tells the engine.
pub trait Outcome {
    /// False ends the retries at once.
    fn retriable(&self) -> bool {
        true
    }

    /// The code that `matching` looks at; without one the failure is retried.
    fn status(&self) -> Option<StatusCode> {
        None
    }
}

/// The number of the attempt, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(pub u32);

/// Why a call under a policy failed. The texts of the policy's own errors
/// reach clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError<E> {
    #[error("{0}")]
    Operation(E),
    #[error("context deadline exceeded")]
    Timeout,
    #[error("{0}")]
    Breaker(Rejection),
}

impl<E> PolicyError<E> {
    /// The call's own error, where that is what ended it.
    pub fn into_operation(self) -> Option<E> {
        match self {
            Self::Operation(error) => Some(error),
            Self::Timeout | Self::Breaker(_) => None,
        }
    }

    pub fn is_breaker(&self) -> bool {
        matches!(self, Self::Breaker(_))
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }

    /// The same failure with the call's error converted.
    pub fn map<F>(self, f: impl FnOnce(E) -> F) -> PolicyError<F> {
        match self {
            Self::Operation(error) => PolicyError::Operation(f(error)),
            Self::Timeout => PolicyError::Timeout,
            Self::Breaker(rejection) => PolicyError::Breaker(rejection),
        }
    }
}

impl<E: Outcome> PolicyError<E> {
    fn failure(&self) -> Failure {
        match self {
            Self::Operation(error) => Failure { retriable: error.retriable(), status: error.status() },
            Self::Timeout => Failure { retriable: true, status: None },
            Self::Breaker(_) => Failure { retriable: false, status: None },
        }
    }
}

/// What a policy consists of; nothing of it is mandatory.
#[derive(Clone, Debug, Default)]
pub struct PolicyParts {
    pub timeout: Option<Duration>,
    pub retry: Option<Arc<RetryConfig>>,
    pub breaker: Option<Arc<CircuitBreaker>>,
}

impl PolicyParts {
    fn is_empty(&self) -> bool {
        self.timeout.is_none() && self.retry.is_none() && self.breaker.is_none()
    }
}

/// The policy of a call: retry ( circuit breaker ( timeout ( call ) ) ).
///
/// Cheap to clone. The absent policy holds nothing and runs the call directly.
#[derive(Clone, Debug, Default)]
pub struct Policy(Option<Arc<Effective>>);

struct Effective {
    /// As the log names the operation.
    name: String,
    parts: PolicyParts,
    metrics: Option<Arc<dyn Meter>>,
}

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Effective").field("name", &self.name).field("parts", &self.parts).finish()
    }
}

impl Policy {
    /// The absent policy.
    pub const NONE: Self = Self(None);

    /// A policy that no resource configures.
    pub fn new(name: impl Into<String>, parts: PolicyParts) -> Self {
        Self::with_metrics(parts, || (name.into(), None))
    }

    pub(crate) fn with_metrics(
        parts: PolicyParts,
        label: impl FnOnce() -> (String, Option<Arc<dyn Meter>>),
    ) -> Self {
        if parts.is_empty() {
            return Self::NONE;
        }
        let (name, metrics) = label();
        Self(Some(Arc::new(Effective { name, parts, metrics })))
    }

    /// True when the call runs as if there were no policy.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a call may be made more than once: its body must then be kept
    /// for a replay.
    pub fn has_retries(&self) -> bool {
        self.retry().is_some_and(RetryConfig::retries)
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.0.as_ref()?.parts.timeout
    }

    pub fn retry(&self) -> Option<&RetryConfig> {
        self.0.as_ref()?.parts.retry.as_deref()
    }

    pub fn breaker(&self) -> Option<&Arc<CircuitBreaker>> {
        self.0.as_ref()?.parts.breaker.as_ref()
    }

    /// The operation as the log names it; empty for the absent policy.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |e| &e.name)
    }

    /// Makes the call under the policy: `op` is asked once an attempt.
    ///
    /// A timeout drops the attempt's future. Dropping the returned future
    /// cancels everything, and counts as a failure for the breaker.
    pub fn run<T, E, F, Fut>(&self, op: F) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        E: Outcome + std::fmt::Display,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_while(|| true, op)
    }

    /// [`Policy::run`] that makes no further attempt once `repeatable` says no,
    /// whatever the failure is: something of the answer has been handed on.
    pub async fn run_while<T, E, F, Fut>(
        &self,
        repeatable: impl Fn() -> bool,
        mut op: F,
    ) -> Result<T, PolicyError<E>>
    where
        E: Outcome + std::fmt::Display,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.0 {
            None => op(Attempt(1)).await.map_err(PolicyError::Operation),
            // Boxed: calls without a policy need no room for its state.
            Some(effective) => Box::pin(effective.run(repeatable, op)).await,
        }
    }

    /// [`Policy::run`] without a box: for callers whose own future is in one,
    /// where a policy is the rule.
    pub async fn run_in_place<T, E, F, Fut>(&self, mut op: F) -> Result<T, PolicyError<E>>
    where
        E: Outcome + std::fmt::Display,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.0 {
            None => op(Attempt(1)).await.map_err(PolicyError::Operation),
            Some(effective) => effective.run(|| true, op).await,
        }
    }

    /// [`Policy::run`] for errors that are no [`Outcome`]: `retriable` judges
    /// them, and `refused` makes one of the text of the policy's own failure.
    pub async fn call<T, E, Fut>(
        &self,
        mut op: impl FnMut() -> Fut,
        retriable: fn(&E) -> bool,
        refused: impl FnOnce(String) -> E,
    ) -> Result<T, E>
    where
        E: std::fmt::Display,
        Fut: Future<Output = Result<T, E>>,
    {
        if self.is_none() {
            return op().await;
        }
        let attempt = |_| {
            let call = op();
            async move { call.await.map_err(|error| Judged { error, retriable }) }
        };
        self.run(attempt).await.map_err(|error| match error {
            PolicyError::Operation(judged) => judged.error,
            other => refused(other.to_string()),
        })
    }
}

/// An error with who says whether another attempt may help.
struct Judged<E> {
    error: E,
    retriable: fn(&E) -> bool,
}

impl<E: std::fmt::Display> std::fmt::Display for Judged<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl<E> Outcome for Judged<E> {
    fn retriable(&self) -> bool {
        (self.retriable)(&self.error)
    }
}

fn now() -> Instant {
    // tokio's clock, so that tests can pause it.
    tokio::time::Instant::now().into_std()
}

impl Effective {
    async fn run<T, E, F, Fut>(&self, repeatable: impl Fn() -> bool, mut op: F) -> Result<T, PolicyError<E>>
    where
        E: Outcome + std::fmt::Display,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.report_attached();
        let timed_out = AtomicBool::new(false);
        let mut retry = self.parts.retry.as_ref().map(|config| Retry::new(config, now()));
        let mut attempts = 1;
        loop {
            let error = match self.attempt(|| op(Attempt(attempts)), &timed_out).await {
                Ok(value) => {
                    if attempts > 1 {
                        self.log_recovered(attempts);
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            let Some(retry) = retry.as_mut().filter(|_| repeatable()) else {
                return Err(error);
            };
            let Decision::RetryAfter(delay) = retry.step(now(), error.failure(), fastrand::f64()) else {
                return Err(error);
            };
            if attempts == 1 {
                self.report_retrying(&error, delay);
            }
            attempts = attempts.saturating_add(1);
            drop(error);
            tokio::time::sleep(delay).await;
        }
    }

    /// One attempt: breaker around timeout around call. A rejected attempt does
    /// not begin the call.
    async fn attempt<T, E, Fut>(
        &self,
        call: impl FnOnce() -> Fut,
        timed_out: &AtomicBool,
    ) -> Result<T, PolicyError<E>>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        let guarded = match &self.parts.breaker {
            None => None,
            Some(breaker) => {
                let before = breaker.state(now());
                match breaker.admit(now()) {
                    Err(rejection) => {
                        self.report_changed(breaker, before);
                        return Err(PolicyError::Breaker(rejection));
                    }
                    Ok(permit) => Some((breaker, before, permit)),
                }
            }
        };
        // In place: a future that is handed on is laid out twice.
        let result = self.timed(pin!(call()), timed_out).await;
        if let Some((breaker, before, permit)) = guarded {
            permit.settle(now(), result.is_ok());
            self.report_changed(breaker, before);
        }
        result
    }

    async fn timed<T, E>(
        &self,
        call: Pin<&mut impl Future<Output = Result<T, E>>>,
        timed_out: &AtomicBool,
    ) -> Result<T, PolicyError<E>> {
        let Some(limit) = self.parts.timeout else {
            return call.await.map_err(PolicyError::Operation);
        };
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(PolicyError::Operation),
            Err(_) => {
                if let Some(m) = &self.metrics
                    && !timed_out.swap(true, Ordering::Relaxed)
                {
                    m.activated(PolicyKind::Timeout, None);
                }
                Err(PolicyError::Timeout)
            }
        }
    }

    fn report_changed(&self, breaker: &CircuitBreaker, before: State) {
        if let Some(m) = &self.metrics {
            let after = breaker.state(now());
            if after != before {
                m.activated(PolicyKind::CircuitBreaker, Some(after));
            }
        }
    }

    fn report_attached(&self) {
        let Some(m) = &self.metrics else { return };
        if self.parts.timeout.is_some() {
            m.attached(PolicyKind::Timeout, None);
        }
        if self.parts.retry.is_some() {
            m.attached(PolicyKind::Retry, None);
        }
        if let Some(breaker) = &self.parts.breaker {
            m.attached(PolicyKind::CircuitBreaker, Some(breaker.state(now())));
        }
    }

    fn report_retrying(&self, error: &impl std::fmt::Display, delay: Duration) {
        if let Some(m) = &self.metrics {
            m.activated(PolicyKind::Retry, None);
        }
        let (name, delay) = (&self.name, format_duration(delay));
        tracing::warn!(target: SCOPE, "Error processing operation {name}. Retrying in {delay}…");
        tracing::debug!(target: SCOPE, "Error for operation {name} was: {error}");
    }

    fn log_recovered(&self, attempts: u32) {
        let name = &self.name;
        tracing::info!(target: SCOPE, "Recovered processing operation {name} after {attempts} attempts");
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
