//! Circuit breakers: a resource that answers too slowly is left alone.

use super::rules::BreakerRule;
use super::window::Window;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Until the given time nothing passes.
    Open(u64),
    HalfOpen,
}

/// One rule with its state; times in milliseconds.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    window: Window,
    state: State,
    probes: u64,
}

/// Whether a request may go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    Free,
    /// The request finds out whether the resource is well again.
    Probe,
    Barred,
}

impl Breaker {
    pub fn new(rule: BreakerRule) -> Self {
        let (interval, buckets) = (rule.stat_interval_ms, rule.stat_sliding_window_bucket_count);
        let buckets = if buckets != 0 && interval % buckets == 0 { buckets } else { 1 };
        let window = Window::new(interval.into(), buckets.into());
        Self { rule, window, state: State::Closed, probes: 0 }
    }

    pub fn resource(&self) -> &str {
        &self.rule.resource
    }

    pub fn ask(&mut self, now: u64) -> Passage {
        match self.state {
            State::Closed => Passage::Free,
            State::Open(until) if now >= until => {
                self.state = State::HalfOpen;
                Passage::Probe
            }
            State::HalfOpen if self.rule.probe_num > 0 => Passage::Free,
            _ => Passage::Barred,
        }
    }

    /// The probe did not go out after all.
    pub fn take_back(&mut self, now: u64) {
        if self.state == State::HalfOpen {
            self.state = State::Open(now);
        }
    }

    /// A request was answered. Errors are not told apart here: rules about
    /// them count none (components.md §12).
    pub fn answered(&mut self, now: u64, took_ms: u64) {
        let bad = self.rule.strategy == 0 && took_ms > self.rule.max_allowed_rt_ms;
        let counts = self.window.current(now);
        counts.completed += 1;
        counts.bad += u64::from(bad);
        match self.state {
            State::Open(_) => {}
            State::HalfOpen if bad => self.open(now),
            State::HalfOpen => {
                self.probes += 1;
                if self.probes >= self.rule.probe_num {
                    self.probes = 0;
                    self.state = State::Closed;
                    self.window.clear();
                }
            }
            State::Closed => {
                let sum = self.window.sum(now);
                let counted = match self.rule.strategy {
                    2 => sum.bad as f64,
                    _ => sum.bad as f64 / sum.completed as f64,
                };
                if sum.completed >= self.rule.min_request_amount && counted >= self.rule.threshold {
                    self.open(now);
                }
            }
        }
    }

    fn open(&mut self, now: u64) {
        self.probes = 0;
        self.state = State::Open(now + u64::from(self.rule.retry_timeout_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(probe_num: u64) -> Breaker {
        Breaker::new(BreakerRule {
            resource: "r".to_owned(),
            retry_timeout_ms: 1000,
            min_request_amount: 2,
            stat_interval_ms: 5000,
            max_allowed_rt_ms: 50,
            threshold: 0.5,
            probe_num,
            ..BreakerRule::default()
        })
    }

    #[test]
    fn slow_answers_open_it_and_a_fast_one_closes_it() {
        let mut breaker = breaker(0);
        breaker.answered(0, 100);
        assert_eq!(breaker.ask(0), Passage::Free, "too few to judge");
        breaker.answered(10, 10);
        assert_eq!(breaker.ask(20), Passage::Barred);
        assert_eq!(breaker.ask(1010), Passage::Probe);
        assert_eq!(breaker.ask(1010), Passage::Barred, "one probe at a time");
        breaker.answered(1020, 51);
        assert_eq!(breaker.ask(1500), Passage::Barred);
        assert_eq!(breaker.ask(2020), Passage::Probe);
        breaker.answered(2030, 50);
        assert_eq!(breaker.ask(2030), Passage::Free);
    }

    #[test]
    fn several_probes_may_be_asked_for() {
        let mut breaker = breaker(2);
        breaker.answered(0, 100);
        breaker.answered(0, 100);
        assert_eq!(breaker.ask(1000), Passage::Probe);
        assert_eq!(breaker.ask(1000), Passage::Free);
        breaker.answered(1010, 1);
        assert_eq!(breaker.state, State::HalfOpen);
        breaker.answered(1010, 1);
        assert_eq!(breaker.state, State::Closed);
    }
}
