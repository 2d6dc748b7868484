//! When to try again and after how long.

use std::time::{Duration, Instant};

use crate::status::{Matching, StatusCode};

/// First delay, growth, jitter and total time of every exponential retry:
/// not configurable in a resource (runtime.md §3.5).
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);
const MULTIPLIER: f64 = 1.5;
const JITTER: f64 = 0.5;
const MAX_ELAPSED: Duration = Duration::from_secs(15 * 60);

/// Spacing of the attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backoff {
    Constant(Duration),
    Exponential {
        initial: Duration,
        multiplier: f64,
        /// Share of the interval by which a delay may differ from it.
        jitter: f64,
        max_interval: Duration,
        /// No attempt starts later than this after the first; zero means no limit.
        max_elapsed: Duration,
    },
}

impl Backoff {
    /// The exponential spacing that resources configure.
    pub fn exponential(max_interval: Duration) -> Self {
        Self::Exponential {
            initial: INITIAL_INTERVAL,
            multiplier: MULTIPLIER,
            jitter: JITTER,
            max_interval,
            max_elapsed: MAX_ELAPSED,
        }
    }
}

/// A retry policy.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    pub backoff: Backoff,
    /// Attempts after the first; `None` retries without end.
    pub max_retries: Option<u64>,
    pub matching: Matching,
}

impl RetryConfig {
    pub fn constant(delay: Duration, max_retries: Option<u64>) -> Self {
        Self { backoff: Backoff::Constant(delay), max_retries, matching: Matching::default() }
    }

    pub fn exponential(max_interval: Duration, max_retries: Option<u64>) -> Self {
        Self { backoff: Backoff::exponential(max_interval), max_retries, matching: Matching::default() }
    }

    /// Whether a second attempt is possible at all: decides if a request body
    /// has to be kept for a replay.
    pub fn retries(&self) -> bool {
        self.max_retries != Some(0)
    }
}

/// What the engine needs to know about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// False ends the retries whatever the policy says.
    pub retriable: bool,
    /// The code that `matching` looks at; a failure without one is retried.
    pub status: Option<StatusCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The failure itself forbids a retry.
    Permanent,
    /// Its code is not among those to retry.
    NotMatching,
    /// The policy's attempts or time are used up.
    Exhausted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    RetryAfter(Duration),
    GiveUp(GiveUp),
}

/// The retries of one call.
#[derive(Debug)]
pub struct Retry<'a> {
    config: &'a RetryConfig,
    started: Instant,
    retries: u64,
    interval: Duration,
}

impl<'a> Retry<'a> {
    pub fn new(config: &'a RetryConfig, now: Instant) -> Self {
        let interval = match config.backoff {
            Backoff::Constant(delay) => delay,
            Backoff::Exponential { initial, .. } => initial,
        };
        Self { config, started: now, retries: 0, interval }
    }

    /// Judges one failed attempt. `random` is uniform in `[0, 1)`.
    pub fn step(&mut self, now: Instant, failure: Failure, random: f64) -> Decision {
        if !failure.retriable {
            return Decision::GiveUp(GiveUp::Permanent);
        }
        if failure.status.is_some_and(|code| !self.config.matching.retries(code)) {
            return Decision::GiveUp(GiveUp::NotMatching);
        }
        if self.config.max_retries.is_some_and(|max| self.retries >= max) {
            return Decision::GiveUp(GiveUp::Exhausted);
        }
        self.retries += 1;
        self.next_delay(now, random).map_or(Decision::GiveUp(GiveUp::Exhausted), Decision::RetryAfter)
    }

    fn next_delay(&mut self, now: Instant, random: f64) -> Option<Duration> {
        match self.config.backoff {
            Backoff::Constant(delay) => Some(delay),
            Backoff::Exponential { multiplier, jitter, max_interval, max_elapsed, .. } => {
                let delay = spread(self.interval, jitter, random);
                self.interval = grow(self.interval, multiplier, max_interval);
                let elapsed = now.saturating_duration_since(self.started);
                (max_elapsed.is_zero() || elapsed.saturating_add(delay) <= max_elapsed).then_some(delay)
            }
        }
    }
}

/// A delay within `interval` ± `jitter`, picked by `random`.
fn spread(interval: Duration, jitter: f64, random: f64) -> Duration {
    if jitter == 0.0 {
        return interval;
    }
    let nanos = interval.as_nanos() as f64;
    let picked = nanos * (1.0 - jitter) + random * (nanos * 2.0 * jitter + 1.0);
    Duration::from_nanos(picked as u64)
}

fn grow(interval: Duration, multiplier: f64, max: Duration) -> Duration {
    let next = interval.as_nanos() as f64 * multiplier;
    if next >= max.as_nanos() as f64 { max } else { Duration::from_nanos(next as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Failure = Failure { retriable: true, status: None };

    fn delays(config: &RetryConfig, random: f64, limit: usize) -> Vec<u64> {
        let mut now = Instant::now();
        let mut retry = Retry::new(config, now);
        let mut out = Vec::new();
        while out.len() < limit {
            let Decision::RetryAfter(d) = retry.step(now, ANY, random) else { break };
            out.push(d.as_millis() as u64);
            now += d;
        }
        out
    }

    #[test]
    fn constant_delays_stop_after_the_maximum() {
        let config = RetryConfig::constant(Duration::from_secs(1), Some(3));
        assert_eq!(delays(&config, 0.5, 10), [1000, 1000, 1000]);
    }

    #[test]
    fn no_maximum_retries_without_end() {
        let config = RetryConfig::constant(Duration::from_secs(3600), None);
        assert_eq!(delays(&config, 0.5, 5000).len(), 5000);
    }

    #[test]
    fn zero_retries_gives_up_at_once() {
        let config = RetryConfig::constant(Duration::ZERO, Some(0));
        assert!(!config.retries());
        assert_eq!(
            Retry::new(&config, Instant::now()).step(Instant::now(), ANY, 0.0),
            Decision::GiveUp(GiveUp::Exhausted)
        );
    }

    #[test]
    fn exponential_grows_to_the_maximum_interval() {
        let config = RetryConfig::exponential(Duration::from_secs(2), Some(6));
        assert_eq!(delays(&config, 0.5, 10), [500, 750, 1125, 1687, 2000, 2000]);
    }

    #[test]
    fn jitter_spans_half_to_one_and_a_half() {
        let config = RetryConfig::exponential(Duration::from_secs(60), Some(1));
        assert_eq!(delays(&config, 0.0, 1), [250]);
        assert_eq!(delays(&config, 0.999_999, 1), [749]);
    }

    #[test]
    fn a_maximum_below_the_first_interval_applies_from_the_second() {
        let config = RetryConfig::exponential(Duration::from_millis(100), Some(3));
        assert_eq!(delays(&config, 0.5, 10), [500, 100, 100]);
    }

    #[test]
    fn exponential_ends_after_fifteen_minutes() {
        let config = RetryConfig::exponential(Duration::from_secs(60), None);
        let all = delays(&config, 0.5, 1000);
        let total: u64 = all.iter().sum();
        assert!(total <= 900_000 && total > 800_000, "{total}");
    }

    #[test]
    fn time_spent_in_the_calls_counts_too() {
        let config = RetryConfig::exponential(Duration::from_secs(60), None);
        let start = Instant::now();
        let mut retry = Retry::new(&config, start);
        let late = start + Duration::from_secs(900);
        assert_eq!(retry.step(late, ANY, 0.5), Decision::GiveUp(GiveUp::Exhausted));
    }

    #[test]
    fn a_permanent_failure_ends_the_retries() {
        let config = RetryConfig::constant(Duration::ZERO, None);
        let mut retry = Retry::new(&config, Instant::now());
        let failure = Failure { retriable: false, status: None };
        assert_eq!(retry.step(Instant::now(), failure, 0.0), Decision::GiveUp(GiveUp::Permanent));
    }

    #[test]
    fn a_code_outside_the_list_ends_the_retries() {
        let config = RetryConfig {
            matching: Matching::parse("500-599", "").unwrap(),
            ..RetryConfig::constant(Duration::ZERO, None)
        };
        let mut retry = Retry::new(&config, Instant::now());
        let mut at = |code| retry.step(Instant::now(), Failure { retriable: true, status: Some(code) }, 0.0);
        assert_eq!(at(StatusCode::http(503)), Decision::RetryAfter(Duration::ZERO));
        assert_eq!(at(StatusCode::http(404)), Decision::GiveUp(GiveUp::NotMatching));
        assert_eq!(at(StatusCode::grpc(14)), Decision::RetryAfter(Duration::ZERO));
    }
}
