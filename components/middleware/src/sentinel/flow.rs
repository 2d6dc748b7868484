//! Flow rules: how many requests a resource takes in an interval.

use std::time::Duration;

use super::rules::FlowRule;
use super::system::Host;
use super::window::Window;

/// Interval of a rule that names none, and the length of the buckets that
/// longer ones are divided into.
const DEFAULT_INTERVAL_MS: u64 = 1000;
const BUCKET_MS: u64 = 500;
const MAX_DIVIDED_MS: u64 = 10_000;
const DEFAULT_COLD_FACTOR: u32 = 3;

/// One rule with what it counted.
#[derive(Debug)]
pub struct Flow {
    rule: FlowRule,
    window: Window,
    warming: Option<Warming>,
    /// When the last request went on that had to keep its distance.
    last_passed_ns: u64,
}

/// What a rule says about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Wait(Duration),
    Refuse,
}

impl Flow {
    pub fn new(rule: FlowRule) -> Self {
        let interval = match rule.stat_interval_in_ms {
            0 => DEFAULT_INTERVAL_MS,
            given => u64::from(given),
        };
        let divided = (BUCKET_MS..=MAX_DIVIDED_MS).contains(&interval) && interval % BUCKET_MS == 0;
        let window = Window::new(interval, if divided { interval / BUCKET_MS } else { 1 });
        let warming = (rule.token_calculate_strategy == 1).then(|| Warming::new(&rule));
        Self { rule, window, warming, last_passed_ns: 0 }
    }

    /// The resource whose requests count.
    pub fn counted(&self) -> &str {
        if self.rule.relation_strategy == 1 { &self.rule.ref_resource } else { &self.rule.resource }
    }

    pub fn guarded(&self) -> &str {
        &self.rule.resource
    }

    /// A request to the counted resource went on.
    pub fn passed(&mut self, now_ms: u64) {
        self.window.current(now_ms).passed += 1;
    }

    pub fn check(&mut self, now: Duration, host: &Host) -> Verdict {
        let now_ms = now.as_millis() as u64;
        let threshold = self.threshold(now_ms, host);
        if self.rule.control_behavior == 1 {
            return self.keep_distance(now.as_nanos() as u64, threshold);
        }
        let passed = self.window.sum(now_ms).passed as f64;
        if passed + 1.0 > threshold { Verdict::Refuse } else { Verdict::Pass }
    }

    fn threshold(&mut self, now_ms: u64, host: &Host) -> f64 {
        if let Some(warming) = &mut self.warming {
            let before = now_ms.saturating_sub(self.window.bucket_ms());
            let rate = self.window.sum(before).passed as f64 / self.window.seconds();
            return warming.threshold(now_ms, rate);
        }
        if self.rule.token_calculate_strategy == 2 {
            self.by_memory(host.memory_bytes())
        } else {
            self.rule.threshold
        }
    }

    /// Between the two marks, in proportion.
    fn by_memory(&self, used: i64) -> f64 {
        let rule = &self.rule;
        let (low, high) = (rule.low_mem_usage_threshold as f64, rule.high_mem_usage_threshold as f64);
        let (from, to) = (rule.mem_low_water_mark_bytes as f64, rule.mem_high_water_mark_bytes as f64);
        let share = ((used as f64 - from) / (to - from)).clamp(0.0, 1.0);
        low + (high - low) * share
    }

    /// Requests go on at even distances; whoever would wait too long does not.
    fn keep_distance(&mut self, now_ns: u64, threshold: f64) -> Verdict {
        if threshold < 1.0 {
            return Verdict::Refuse;
        }
        let interval_ns = self.window.seconds() * 1e9;
        let distance = (interval_ns / threshold).ceil() as u64;
        let expected = self.last_passed_ns.saturating_add(distance);
        if expected <= now_ns {
            self.last_passed_ns = now_ns;
            return Verdict::Pass;
        }
        let wait = Duration::from_nanos(expected - now_ns);
        if wait > Duration::from_millis(self.rule.max_queueing_time_ms.into()) {
            return Verdict::Refuse;
        }
        self.last_passed_ns = expected;
        Verdict::Wait(wait)
    }
}

/// A threshold that grows from a cold start to the configured one.
#[derive(Debug)]
struct Warming {
    threshold: f64,
    cold_factor: u32,
    warning: u64,
    max: u64,
    slope: f64,
    stored: u64,
    filled_ms: Option<u64>,
}

impl Warming {
    fn new(rule: &FlowRule) -> Self {
        let cold_factor =
            if rule.warm_up_cold_factor <= 1 { DEFAULT_COLD_FACTOR } else { rule.warm_up_cold_factor };
        let amount = f64::from(rule.warm_up_period_sec) * rule.threshold;
        let warning = (amount / f64::from(cold_factor - 1)) as u64;
        let max = warning + (2.0 * amount / f64::from(1 + cold_factor)) as u64;
        let slope = f64::from(cold_factor - 1) / rule.threshold / (max - warning) as f64;
        Self { threshold: rule.threshold, cold_factor, warning, max, slope, stored: 0, filled_ms: None }
    }

    fn threshold(&mut self, now_ms: u64, rate: f64) -> f64 {
        self.fill(now_ms - now_ms % 1000, rate);
        match self.stored.checked_sub(self.warning) {
            Some(above) => (1.0 / (above as f64 * self.slope + 1.0 / self.threshold)).next_up(),
            None => self.threshold,
        }
    }

    /// Tokens gather while little is asked for; the more there are, the colder
    /// the resource.
    fn fill(&mut self, second_ms: u64, rate: f64) {
        // A resource that was never used is cold.
        let Some(filled) = self.filled_ms else {
            self.stored = self.max;
            self.filled_ms = Some(second_ms);
            return;
        };
        if second_ms <= filled {
            return;
        }
        let idle = rate < f64::from(self.threshold as u32 / self.cold_factor);
        if self.stored < self.warning || (self.stored > self.warning && idle) {
            self.stored += ((second_ms - filled) as f64 * self.threshold / 1000.0) as u64;
        }
        self.stored = self.stored.min(self.max).saturating_sub(rate as u64);
        self.filled_ms = Some(second_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(threshold: f64) -> FlowRule {
        FlowRule { resource: "r".to_owned(), threshold, ..FlowRule::default() }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_second_takes_as_many_as_the_threshold() {
        let (mut flow, host) = (Flow::new(rule(2.0)), Host::default());
        let mut ask = |ms| {
            let verdict = flow.check(at(ms), &host);
            if verdict == Verdict::Pass {
                flow.passed(ms);
            }
            verdict == Verdict::Pass
        };
        assert_eq!([ask(0), ask(100), ask(200), ask(900), ask(1000)], [true, true, false, false, true]);
    }

    #[test]
    fn requests_keep_their_distance() {
        let settings = FlowRule { control_behavior: 1, max_queueing_time_ms: 250, ..rule(10.0) };
        let (mut flow, host) = (Flow::new(settings), Host::default());
        assert_eq!(flow.check(at(1000), &host), Verdict::Pass);
        assert_eq!(flow.check(at(1000), &host), Verdict::Wait(at(100)));
        assert_eq!(flow.check(at(1000), &host), Verdict::Wait(at(200)));
        assert_eq!(flow.check(at(1000), &host), Verdict::Refuse);
        assert_eq!(flow.check(at(1300), &host), Verdict::Pass);
    }

    #[test]
    fn a_cold_resource_takes_a_third() {
        let settings = FlowRule { token_calculate_strategy: 1, warm_up_period_sec: 10, ..rule(9.0) };
        let mut warming = Warming::new(&settings);
        assert_eq!(warming.threshold(5000, 0.0).round(), 3.0);
        // Under use it warms up within the period.
        let last = (6..40).map(|s| warming.threshold(s * 1000, 9.0)).last();
        assert_eq!(last, Some(9.0));
    }

    #[test]
    fn memory_moves_the_threshold() {
        let settings = FlowRule {
            token_calculate_strategy: 2,
            low_mem_usage_threshold: 100,
            high_mem_usage_threshold: 10,
            mem_low_water_mark_bytes: 1000,
            mem_high_water_mark_bytes: 2000,
            ..rule(0.0)
        };
        let flow = Flow::new(settings);
        assert_eq!([0, 1500, 3000].map(|used| flow.by_memory(used)), [100.0, 55.0, 10.0]);
    }
}
