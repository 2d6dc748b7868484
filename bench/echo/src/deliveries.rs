//! What was delivered: a count and the time each message took since it was published.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Latencies kept; deliveries beyond it are counted only.
const MAX_LATENCIES: usize = 2_000_000;

/// The member of the message's data that carries the time of publishing, as nanoseconds since 1970 in a
/// string (a JSON number of that size does not survive a decoder that uses doubles).
pub const SENT_MEMBER: &str = "\"sent_ns\":\"";

#[derive(Default)]
pub struct Deliveries(RefCell<State>);

#[derive(Default)]
struct State {
    count: u64,
    first_ns: u64,
    last_ns: u64,
    latencies_ns: Vec<u64>,
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(elapsed.as_nanos()).expect("nanoseconds since 1970 fit until 2554")
}

impl Deliveries {
    pub fn record(&self, body: &[u8]) {
        let now = now_ns();
        let mut state = self.0.borrow_mut();
        state.count += 1;
        if state.count == 1 {
            state.first_ns = now;
        }
        state.last_ns = now;
        if let Some(sent) = sent_ns(body)
            && state.latencies_ns.len() < MAX_LATENCIES
        {
            state.latencies_ns.push(now.saturating_sub(sent));
        }
    }

    pub fn reset(&self) {
        *self.0.borrow_mut() = State::default();
    }

    /// `{"delivered":N,"first_ns":N,"last_ns":N,"timed":N,"p50_us":X,"p90_us":X,"p99_us":X}`
    pub fn to_json(&self) -> String {
        let mut state = self.0.borrow_mut();
        state.latencies_ns.sort_unstable();
        let us = |share: f64| percentile(&state.latencies_ns, share) as f64 / 1_000.0;
        format!(
            r#"{{"delivered":{},"first_ns":{},"last_ns":{},"timed":{},"p50_us":{},"p90_us":{},"p99_us":{}}}"#,
            state.count,
            state.first_ns,
            state.last_ns,
            state.latencies_ns.len(),
            us(0.50),
            us(0.90),
            us(0.99)
        )
    }
}

fn sent_ns(body: &[u8]) -> Option<u64> {
    let member = SENT_MEMBER.as_bytes();
    let start = body.windows(member.len()).position(|window| window == member)? + member.len();
    let digits = body[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits
        .copied()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_publishing() {
        assert_eq!(sent_ns(br#"{"data":{"pad":"x","sent_ns":"1234"},"id":"1"}"#), Some(1234));
        assert_eq!(sent_ns(br#"{"data":{}}"#), None);
        assert_eq!(sent_ns(br#"{"sent_ns":"99999999999999999999999"}"#), None);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.50), 50);
        assert_eq!(percentile(&sorted, 0.99), 99);
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
