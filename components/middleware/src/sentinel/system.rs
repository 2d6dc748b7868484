//! Rules about the host, and what is known about it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rules::SystemRule;
use super::window::Window;

/// What was read is good for this long.
const FRESH: Duration = Duration::from_secs(1);

/// Load, CPU and memory, read when they are asked for; zero where the system
/// does not tell.
#[derive(Debug, Default)]
pub struct Host(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    load: f64,
    cpu: f64,
    memory: i64,
    /// Ticks of all kinds and of idling at the last reading.
    ticks: (u64, u64),
}

impl Host {
    pub fn load(&self) -> f64 {
        self.fresh(|k| k.load)
    }

    /// Share of all CPUs, from 0 to 1.
    pub fn cpu(&self) -> f64 {
        self.fresh(|k| k.cpu)
    }

    /// Memory that this process holds.
    pub fn memory_bytes(&self) -> i64 {
        self.fresh(|k| k.memory)
    }

    fn fresh<T>(&self, get: impl Fn(&Known) -> T) -> T {
        let mut known = self.0.lock();
        if known.read.is_none_or(|at| at.elapsed() > FRESH) {
            known.refresh();
        }
        get(&known)
    }
}

impl Known {
    fn refresh(&mut self) {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        self.read = Some(Instant::now());
        self.load = file("/proc/loadavg").split(' ').next().and_then(|t| t.parse().ok()).unwrap_or(0.0);
        let status = file("/proc/self/status");
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kilobytes =
            resident.and_then(|t| t.split_whitespace().next()).and_then(|t| t.parse::<i64>().ok());
        self.memory = kilobytes.unwrap_or(0) * 1024;
        let ticks = ticks(&file("/proc/stat"));
        let (all, idle) = (ticks.0.saturating_sub(self.ticks.0), ticks.1.saturating_sub(self.ticks.1));
        if self.ticks.0 > 0 && all > 0 {
            self.cpu = 1.0 - idle as f64 / all as f64;
        }
        self.ticks = ticks;
    }
}

/// All and idle ticks since the start of the system.
fn ticks(stat: &str) -> (u64, u64) {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|f| f.parse().ok()).collect();
    let idle = fields.iter().skip(3).take(2).sum();
    (fields.iter().sum(), idle)
}

/// All requests together.
#[derive(Debug)]
pub struct Inbound {
    pub window: Window,
    pub concurrency: u64,
}

impl Default for Inbound {
    fn default() -> Self {
        Self { window: Window::new(1000, 2), concurrency: 0 }
    }
}

impl Inbound {
    /// Whether `rule` lets one more in.
    pub fn allows(&self, rule: &SystemRule, host: &Host, now: u64) -> bool {
        let sum = self.window.sum(now);
        match rule.metric_type {
            0 => host.load() <= rule.trigger_count || self.copes(rule, now),
            1 => {
                let average = sum.took.checked_div(sum.completed).unwrap_or(0);
                (average as f64) < rule.trigger_count
            }
            2 => (self.concurrency as f64) < rule.trigger_count,
            3 => (sum.passed as f64) < rule.trigger_count,
            _ => host.cpu() <= rule.trigger_count || self.copes(rule, now),
        }
    }

    /// With strategy 1: no more is under way than was done at best.
    fn copes(&self, rule: &SystemRule, now: u64) -> bool {
        let capacity = self.window.best_rate(now) * self.window.sum(now).fastest as f64 / 1000.0;
        rule.strategy == 1 && (self.concurrency <= 1 || self.concurrency as f64 <= capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_can_be_read() {
        let host = Host::default();
        assert!(host.memory_bytes() > 0);
        assert!(host.load() >= 0.0);
        assert_eq!(ticks("cpu  10 0 5 80 5 0 0 0 7 7\ncpu0 1"), (100, 85));
    }

    #[test]
    fn rules_about_all_requests() {
        let (mut inbound, host) = (Inbound::default(), Host::default());
        let rule = |metric_type, trigger_count| SystemRule { metric_type, trigger_count, strategy: 0 };
        inbound.concurrency = 2;
        inbound.window.current(0).passed = 3;
        inbound.window.current(0).completed = 2;
        inbound.window.current(0).took = 100;
        assert!(!inbound.allows(&rule(2, 2.0), &host, 0));
        assert!(inbound.allows(&rule(2, 3.0), &host, 0));
        assert!(!inbound.allows(&rule(3, 3.0), &host, 0));
        assert!(inbound.allows(&rule(3, 3.0), &host, 1000));
        assert!(!inbound.allows(&rule(1, 50.0), &host, 0));
        assert!(inbound.allows(&rule(1, 51.0), &host, 0));
        assert!(inbound.allows(&rule(0, f64::MAX), &host, 0));
    }
}
