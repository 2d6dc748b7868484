//! The circuit breaker: closed, open, half-open.
//!
//! A *generation* is the time between two state changes or two resets of the
//! counts. A call that ends in a later generation than it began in no longer
//! counts.

use std::fmt;
use std::time::{Duration, Instant};

/// Length of the open state when the policy gives none.
const DEFAULT_OPEN_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Calls let through, and successes needed to close, while half-open.
    max_requests: u32,
    /// The counts are cleared this often while closed; `None` never.
    interval: Option<Duration>,
    /// Length of the open state.
    open_for: Duration,
}

impl BreakerConfig {
    /// Zero means the default of each: one request, no interval, 60 seconds.
    pub fn new(max_requests: u32, interval: Duration, open_for: Duration) -> Self {
        Self {
            max_requests: max_requests.max(1),
            interval: (!interval.is_zero()).then_some(interval),
            open_for: if open_for.is_zero() { DEFAULT_OPEN_FOR } else { open_for },
        }
    }

    pub fn max_requests(&self) -> u32 {
        self.max_requests
    }

    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    pub fn open_for(&self) -> Duration {
        self.open_for
    }
}

/// What a trip expression may look at; all of the current generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u32,
    pub total_successes: u32,
    pub total_failures: u32,
    pub consecutive_successes: u32,
    pub consecutive_failures: u32,
}

impl Counts {
    fn success(&mut self) {
        self.total_successes = self.total_successes.saturating_add(1);
        self.consecutive_successes = self.consecutive_successes.saturating_add(1);
        self.consecutive_failures = 0;
    }

    fn failure(&mut self) {
        self.total_failures = self.total_failures.saturating_add(1);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.consecutive_successes = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    HalfOpen,
    Open,
}

impl State {
    /// As logs and metric labels spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: State,
    pub to: State,
}

/// Why a call was not let through. The texts reach clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("circuit breaker is open")]
    Open,
    #[error("too many requests")]
    TooManyRequests,
}

/// Proof that a call was let through; give it back to [`Breaker::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a call that is never settled keeps a half-open breaker from closing"]
pub struct Ticket {
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub ticket: Result<Ticket, Rejection>,
    pub transition: Option<Transition>,
}

#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    generation: u64,
    counts: Counts,
    /// End of the generation, where time ends it.
    expiry: Option<Instant>,
}

impl Breaker {
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        let mut breaker =
            Self { config, state: State::Closed, generation: 0, counts: Counts::default(), expiry: None };
        breaker.begin_generation(now);
        breaker
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The state at `now`, and the change that the passing of time made.
    pub fn state(&mut self, now: Instant) -> (State, Option<Transition>) {
        let transition = self.advance(now);
        (self.state, transition)
    }

    /// Asks to make a call.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let transition = self.advance(now);
        let ticket = match self.state {
            State::Open => Err(Rejection::Open),
            State::HalfOpen if self.counts.requests >= self.config.max_requests => {
                Err(Rejection::TooManyRequests)
            }
            State::HalfOpen | State::Closed => {
                self.counts.requests = self.counts.requests.saturating_add(1);
                Ok(Ticket { generation: self.generation })
            }
        };
        Admission { ticket, transition }
    }

    /// Reports how the call ended. `trips` is asked after a failure while
    /// closed, with the counts that include it.
    pub fn settle(
        &mut self,
        now: Instant,
        ticket: Ticket,
        success: bool,
        trips: impl FnOnce(&Counts) -> bool,
    ) -> Option<Transition> {
        let by_time = self.advance(now);
        if ticket.generation != self.generation {
            return by_time;
        }
        match (self.state, success) {
            (State::Closed, true) => {
                self.counts.success();
                None
            }
            (State::Closed, false) => {
                self.counts.failure();
                trips(&self.counts).then(|| self.change(State::Open, now))
            }
            (State::HalfOpen, true) => {
                self.counts.success();
                (self.counts.consecutive_successes >= self.config.max_requests)
                    .then(|| self.change(State::Closed, now))
            }
            (State::HalfOpen, false) => Some(self.change(State::Open, now)),
            // No ticket carries the generation of an open state.
            (State::Open, _) => None,
        }
    }

    /// Applies what time alone changes.
    fn advance(&mut self, now: Instant) -> Option<Transition> {
        let expired = self.expiry.is_some_and(|at| at < now);
        match self.state {
            State::Closed if expired => {
                self.begin_generation(now);
                None
            }
            State::Open if expired => Some(self.change(State::HalfOpen, now)),
            _ => None,
        }
    }

    fn change(&mut self, to: State, now: Instant) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        self.begin_generation(now);
        Transition { from, to }
    }

    fn begin_generation(&mut self, now: Instant) {
        self.generation += 1;
        self.counts = Counts::default();
        self.expiry = match self.state {
            State::Closed => self.config.interval.and_then(|d| now.checked_add(d)),
            State::Open => now.checked_add(self.config.open_for),
            State::HalfOpen => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker with a clock that only the test moves.
    struct Bench {
        breaker: Breaker,
        now: Instant,
        trip_at: u32,
    }

    impl Bench {
        fn new(max_requests: u32, interval_s: u64, open_s: u64, trip_at: u32) -> Self {
            let now = Instant::now();
            let config = BreakerConfig::new(
                max_requests,
                Duration::from_secs(interval_s),
                Duration::from_secs(open_s),
            );
            Self { breaker: Breaker::new(config, now), now, trip_at }
        }

        fn pass(&mut self, millis: u64) -> &mut Self {
            self.now += Duration::from_millis(millis);
            self
        }

        fn admit(&mut self) -> Result<Ticket, Rejection> {
            self.breaker.admit(self.now).ticket
        }

        fn settle(&mut self, ticket: Ticket, success: bool) -> Option<Transition> {
            let trip_at = self.trip_at;
            self.breaker.settle(self.now, ticket, success, |c| c.consecutive_failures >= trip_at)
        }

        fn call(&mut self, success: bool) -> Result<Option<Transition>, Rejection> {
            let ticket = self.admit()?;
            Ok(self.settle(ticket, success))
        }

        fn state(&mut self) -> State {
            self.breaker.state(self.now).0
        }
    }

    const OPENED: Transition = Transition { from: State::Closed, to: State::Open };

    #[test]
    fn trips_on_the_failure_that_the_expression_accepts() {
        let mut b = Bench::new(1, 0, 10, 3);
        assert_eq!(b.call(false), Ok(None));
        assert_eq!(b.call(false), Ok(None));
        assert_eq!(b.call(false), Ok(Some(OPENED)));
        assert_eq!(b.call(true), Err(Rejection::Open));
    }

    #[test]
    fn a_success_resets_only_the_consecutive_count() {
        let mut b = Bench::new(1, 0, 10, 3);
        for ok in [false, false, true, false, false] {
            assert_eq!(b.call(ok), Ok(None));
        }
        let c = b.breaker.counts();
        assert_eq!((c.requests, c.total_failures, c.total_successes), (5, 4, 1));
        assert_eq!((c.consecutive_failures, c.consecutive_successes), (2, 0));
    }

    #[test]
    fn half_opens_strictly_after_the_timeout() {
        let mut b = Bench::new(1, 0, 10, 1);
        b.call(false).unwrap();
        b.pass(10_000);
        assert_eq!(b.admit(), Err(Rejection::Open));
        b.pass(1);
        assert_eq!(b.state(), State::HalfOpen);
    }

    #[test]
    fn half_open_admits_the_maximum_and_closes_after_as_many_successes() {
        let mut b = Bench::new(2, 0, 10, 1);
        b.call(false).unwrap();
        b.pass(10_001);
        let (first, second) = (b.admit().unwrap(), b.admit().unwrap());
        assert_eq!(b.admit(), Err(Rejection::TooManyRequests));
        assert_eq!(b.settle(first, true), None);
        assert_eq!(b.settle(second, true), Some(Transition { from: State::HalfOpen, to: State::Closed }));
        assert_eq!(b.breaker.counts(), Counts::default());
    }

    #[test]
    fn half_open_opens_on_the_first_failure_and_late_results_do_not_count() {
        let mut b = Bench::new(2, 0, 10, 1);
        b.call(false).unwrap();
        b.pass(10_001);
        let (first, second) = (b.admit().unwrap(), b.admit().unwrap());
        assert_eq!(b.settle(first, false), Some(Transition { from: State::HalfOpen, to: State::Open }));
        assert_eq!(b.settle(second, true), None);
        assert_eq!(b.state(), State::Open);
    }

    #[test]
    fn admission_reports_the_change_that_time_made() {
        let mut b = Bench::new(1, 0, 10, 1);
        b.call(false).unwrap();
        b.pass(10_001);
        let admission = b.breaker.admit(b.now);
        assert_eq!(admission.transition, Some(Transition { from: State::Open, to: State::HalfOpen }));
        assert!(admission.ticket.is_ok());
    }

    #[test]
    fn the_interval_clears_the_counts_while_closed() {
        let mut b = Bench::new(1, 5, 10, 3);
        b.call(false).unwrap();
        b.call(false).unwrap();
        b.pass(5001);
        assert_eq!(b.call(false), Ok(None));
        assert_eq!(b.breaker.counts().consecutive_failures, 1);
    }

    #[test]
    fn a_call_that_outlives_its_interval_does_not_count() {
        let mut b = Bench::new(1, 5, 10, 1);
        let slow = b.admit().unwrap();
        b.pass(5001);
        assert_eq!(b.settle(slow, false), None);
        assert_eq!(b.breaker.counts(), Counts::default());
    }

    #[test]
    fn without_an_interval_counts_are_kept() {
        let mut b = Bench::new(1, 0, 10, 3);
        b.call(false).unwrap();
        b.pass(86_400_000).call(false).unwrap();
        assert_eq!(b.call(false), Ok(Some(OPENED)));
    }

    #[test]
    fn zeros_mean_the_defaults() {
        let config = BreakerConfig::new(0, Duration::ZERO, Duration::ZERO);
        assert_eq!(config.max_requests(), 1);
        assert_eq!(config.interval(), None);
        assert_eq!(config.open_for(), Duration::from_secs(60));
    }
}
