use super::*;
use std::cell::Cell;

use parking_lot::Mutex;

use crate::core::{BreakerConfig, State};
use crate::status::Matching;
use crate::trip::Trip;

#[derive(Debug, PartialEq)]
struct Bad {
    retriable: bool,
    code: Option<u16>,
}

const PLAIN: Bad = Bad { retriable: true, code: None };

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bad")
    }
}

impl Outcome for Bad {
    fn retriable(&self) -> bool {
        self.retriable
    }
    fn status(&self) -> Option<StatusCode> {
        self.code.map(StatusCode::http)
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Meter for Log {
    fn attached(&self, kind: PolicyKind, state: Option<State>) {
        let state = state.map_or("", State::as_str);
        self.0.lock().push(format!("attached {}{state}", kind.as_str()));
    }
    fn activated(&self, kind: PolicyKind, state: Option<State>) {
        let state = state.map_or("", State::as_str);
        self.0.lock().push(format!("activated {}{state}", kind.as_str()));
    }
}

fn retry(n: u64) -> Option<Arc<RetryConfig>> {
    Some(Arc::new(RetryConfig::constant(Duration::from_secs(1), Some(n))))
}

fn breaker(trip: &str) -> Option<Arc<CircuitBreaker>> {
    let config = BreakerConfig::new(1, Duration::ZERO, Duration::from_secs(10));
    Some(Arc::new(CircuitBreaker::new("cb", config, Trip::compile(trip).unwrap(), now())))
}

fn policy(parts: PolicyParts) -> Policy {
    Policy::new("test", parts)
}

/// Fails until the attempt `good`, counting the calls.
async fn run(
    policy: &Policy,
    calls: &Cell<u32>,
    good: u32,
    error: fn() -> Bad,
) -> Result<u32, PolicyError<Bad>> {
    policy
        .run(|Attempt(n)| {
            calls.set(calls.get() + 1);
            async move { if n >= good { Ok(n) } else { Err(error()) } }
        })
        .await
}

#[tokio::test]
async fn the_absent_policy_runs_the_call_once() {
    let calls = Cell::new(0);
    let result = run(&Policy::NONE, &calls, 9, || PLAIN).await;
    assert_eq!(result, Err(PolicyError::Operation(PLAIN)));
    assert_eq!(calls.get(), 1);
    assert!(Policy::new("x", PolicyParts::default()).is_none());
}

#[tokio::test(start_paused = true)]
async fn retries_until_it_succeeds_waiting_in_between() {
    let (calls, start) = (Cell::new(0), now());
    let p = policy(PolicyParts { retry: retry(3), ..PolicyParts::default() });
    assert_eq!(run(&p, &calls, 3, || PLAIN).await, Ok(3));
    assert_eq!(calls.get(), 3);
    assert_eq!((now() - start).as_secs(), 2);
    assert!(p.has_retries());
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_returned_when_retries_are_used_up() {
    let calls = Cell::new(0);
    let p = policy(PolicyParts { retry: retry(2), ..PolicyParts::default() });
    assert_eq!(run(&p, &calls, 9, || PLAIN).await, Err(PolicyError::Operation(PLAIN)));
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn permanent_and_unmatched_errors_are_not_retried() {
    let matching = Matching::parse("500", "").unwrap();
    let config = RetryConfig { matching, ..RetryConfig::constant(Duration::ZERO, Some(5)) };
    let p = policy(PolicyParts { retry: Some(Arc::new(config)), ..PolicyParts::default() });
    for (error, expected) in [
        ((|| Bad { retriable: false, code: None }) as fn() -> Bad, 1),
        (|| Bad { retriable: true, code: Some(404) }, 1),
        (|| Bad { retriable: true, code: Some(500) }, 6),
        (|| PLAIN, 6),
    ] {
        let calls = Cell::new(0);
        assert!(run(&p, &calls, 99, error).await.is_err());
        assert_eq!(calls.get(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_applies_to_each_attempt() {
    let p = policy(PolicyParts {
        timeout: Some(Duration::from_millis(100)),
        retry: retry(1),
        ..PolicyParts::default()
    });
    let calls = Cell::new(0);
    let start = now();
    let result: Result<(), PolicyError<Bad>> = p
        .run(|_| {
            calls.set(calls.get() + 1);
            std::future::pending()
        })
        .await;
    assert_eq!(result, Err(PolicyError::Timeout));
    assert_eq!(result.unwrap_err().to_string(), "context deadline exceeded");
    assert_eq!(calls.get(), 2);
    assert_eq!((now() - start).as_millis(), 1200);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_ends_the_retries() {
    let p = policy(PolicyParts {
        retry: retry(10),
        breaker: breaker("consecutiveFailures > 1"),
        ..PolicyParts::default()
    });
    let calls = Cell::new(0);
    let result = run(&p, &calls, 99, || PLAIN).await;
    assert_eq!(result, Err(PolicyError::Breaker(Rejection::Open)));
    assert_eq!(result.unwrap_err().to_string(), "circuit breaker is open");
    assert_eq!(calls.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_counts_as_a_failure_of_the_breaker() {
    let p = policy(PolicyParts {
        timeout: Some(Duration::from_millis(5)),
        breaker: breaker("totalFailures == 1"),
        ..PolicyParts::default()
    });
    let result: Result<(), PolicyError<Bad>> = p.run(|_| std::future::pending()).await;
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(p.breaker().unwrap().state(now()), State::Open);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(p.breaker().unwrap().state(now()), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_does_not_leave_the_breaker_half_open_for_ever() {
    let p = policy(PolicyParts { breaker: breaker("totalFailures == 1"), ..PolicyParts::default() });
    run(&p, &Cell::new(0), 9, || PLAIN).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let stuck = p.run::<(), Bad, _, _>(|_| std::future::pending());
    assert!(tokio::time::timeout(Duration::from_millis(1), stuck).await.is_err());
    assert_eq!(p.breaker().unwrap().state(now()), State::Open);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(run(&p, &Cell::new(0), 1, || PLAIN).await, Ok(1));
    assert_eq!(p.breaker().unwrap().state(now()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn metrics_see_attachments_and_first_activations() {
    let log = Arc::new(Log::default());
    let meter = Arc::clone(&log) as Arc<dyn Meter>;
    let parts = PolicyParts {
        timeout: Some(Duration::from_secs(1)),
        retry: retry(2),
        breaker: breaker("totalFailures == 3"),
    };
    let p = Policy::with_metrics(parts, || ("n".into(), Some(meter)));
    let _: Result<(), PolicyError<Bad>> = p.run(|_| std::future::pending()).await;
    assert_eq!(
        *log.0.lock(),
        [
            "attached timeout",
            "attached retry",
            "attached circuitbreakerclosed",
            "activated timeout",
            "activated retry",
            "activated circuitbreakeropen",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_once_an_answer_was_handed_on() {
    let parts =
        PolicyParts { timeout: Some(Duration::from_secs(1)), retry: retry(3), ..PolicyParts::default() };
    let (calls, handed_on) = (Cell::new(0), Cell::new(false));
    let result: Result<(), _> = policy(parts)
        .run_while(
            || !handed_on.get(),
            |Attempt(n)| {
                calls.set(n);
                handed_on.set(n == 2);
                async move {
                    if n == 2 {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                    }
                    Err(PLAIN)
                }
            },
        )
        .await;
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(calls.get(), 2);
}
