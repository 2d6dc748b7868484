//! Whether the application can take calls (api.md §5.10, runtime.md §5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dapr_errors::Code;
use dapr_kernel::tasks::TaskGroup;
use http::{Method, Request};
use tokio::sync::watch;

use crate::AppChannel;

/// `--app-health-*`.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// HTTP applications only; with a leading slash.
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures since the application was last found healthy.
    pub threshold: u32,
}

/// The application's health as the last probe saw it. Cloning shares it.
///
/// It starts out unhealthy; without probing, [`AppHealth::set`] declares the
/// application healthy once its port answers.
#[derive(Clone, Debug)]
pub struct AppHealth {
    state: Arc<watch::Sender<bool>>,
    /// Probing has begun: until then nothing is known against the application.
    probed: Arc<AtomicBool>,
}

impl Default for AppHealth {
    fn default() -> Self {
        let state = Arc::new(watch::Sender::new(false));
        Self { state, probed: Arc::default() }
    }
}

impl AppHealth {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_healthy(&self) -> bool {
        *self.state.borrow()
    }

    /// Whether calls reach the application. Only probes keep them away: before the first one, and
    /// without probing, a call is tried, whether or not the port was seen open yet (runtime.md §5).
    pub fn takes_calls(&self) -> bool {
        self.is_healthy() || !self.probed.load(Ordering::Relaxed)
    }

    pub fn set(&self, healthy: bool) {
        self.state.send_if_modified(|state| std::mem::replace(state, healthy) != healthy);
    }

    /// Follows every change, beginning with the current state.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.state.subscribe()
    }

    /// Probes until the group stops.
    pub fn start_probing(&self, channel: AppChannel, options: ProbeOptions, tasks: &TaskGroup) {
        self.probed.store(true, Ordering::Relaxed);
        let health = self.clone();
        tasks.spawn_until_shutdown("app health", async move { health.run(channel, options).await });
    }

    async fn run(&self, channel: AppChannel, options: ProbeOptions) {
        let mut ticker = tokio::time::interval(options.interval);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counter = Counter::new(options.threshold);
        loop {
            ticker.tick().await;
            let outcome = tokio::time::timeout(options.timeout, probe(&channel, &options.path))
                .await
                .unwrap_or_else(|_| Err("Network error: context deadline exceeded".to_owned()));
            match counter.record(outcome) {
                Some(Ok(())) => {
                    tracing::info!(target: "dapr.apphealth", "App entered healthy status");
                    self.set(true);
                }
                Some(Err(reason)) => {
                    tracing::warn!(target: "dapr.apphealth", "App entered un-healthy status: {reason}");
                    self.set(false);
                }
                None => {}
            }
        }
    }
}

/// Counts failures since the application was last found healthy. Successes in
/// between do not reset it: the contract's threshold is cumulative.
#[derive(Debug)]
struct Counter {
    threshold: u32,
    failures: u32,
}

impl Counter {
    fn new(threshold: u32) -> Self {
        Self { threshold, failures: threshold }
    }

    /// The new state, if this outcome changes it.
    fn record(&mut self, outcome: Result<(), String>) -> Option<Result<(), String>> {
        let healthy = self.failures < self.threshold;
        match outcome {
            Ok(()) if healthy => None,
            Ok(()) => {
                self.failures = 0;
                Some(Ok(()))
            }
            Err(_) if !healthy => None,
            Err(reason) => {
                self.failures += 1;
                (self.failures >= self.threshold).then_some(Err(reason))
            }
        }
    }
}

async fn probe(channel: &AppChannel, path: &str) -> Result<(), String> {
    let metrics = channel.options().metrics.as_deref();
    let started = Instant::now();
    if let Some(grpc) = channel.grpc() {
        let answer = grpc.health_check().await;
        if let Some(metrics) = metrics {
            let code = answer.as_ref().err().map_or(Code::Ok, |status| Code::from_i32(status.code() as i32));
            metrics.grpc.probed(code.name(), started.elapsed());
        }
        return answer.map_err(|e| format!("Probe error: {e}"));
    }
    let Some(http) = channel.http() else { return Err("Probe error: no channel".to_owned()) };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("{slash}{path}"))
        .body(dapr_transport::Body::empty())
        .map_err(|e| format!("Probe error: {e}"))?;
    let response = http.send_untokened(request).await;
    if let Some(metrics) = metrics {
        let status = response.as_ref().map_or(500, |r| r.status().as_u16());
        metrics.http_client.probed(status, started.elapsed());
    }
    let response = response.map_err(|e| format!("Network error: {e}"))?;
    let status = response.status().as_u16();
    // Reading the body to its end is what lets the connection be used again.
    let _ = response.into_body().collect().await;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(format!("Health check failed with status code: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> Result<(), String> {
        Err("r".to_owned())
    }

    #[test]
    fn calls_are_refused_only_by_probes() {
        let health = AppHealth::new();
        assert!(health.takes_calls(), "an application that was never probed");
        health.probed.store(true, Ordering::Relaxed);
        assert!(!health.takes_calls(), "probing has begun, no probe has succeeded");
        health.set(true);
        assert!(health.takes_calls());
    }

    #[test]
    fn the_threshold_is_cumulative_since_last_healthy() {
        let mut c = Counter::new(2);
        assert_eq!(c.record(bad()), None, "starts unhealthy, stays so silently");
        assert_eq!(c.record(Ok(())), Some(Ok(())));
        assert_eq!(c.record(bad()), None);
        assert_eq!(c.record(Ok(())), None, "a success in between does not reset");
        assert_eq!(c.record(bad()), Some(bad()));
        assert_eq!(c.record(Ok(())), Some(Ok(())));
    }
}
