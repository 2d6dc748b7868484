//! Whether the application can take calls (api.md §5.10, runtime.md §5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use dapr_errors::Code;
use dapr_kernel::tasks::TaskGroup;
use http::{Method, Request};
use tokio::sync::{Notify, watch};

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
    /// Asks for a probe ahead of time.
    nudge: Arc<Notify>,
}

impl Default for AppHealth {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(false)), nudge: Arc::new(Notify::new()) }
    }
}

impl AppHealth {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_healthy(&self) -> bool {
        *self.state.borrow()
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
        let health = self.clone();
        tasks.spawn_until_shutdown("app health", async move { health.run(channel, options).await });
    }

    async fn run(&self, channel: AppChannel, options: ProbeOptions) {
        let mut ticker = tokio::time::interval(options.interval);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counter = Counter::new(options.threshold);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = self.nudge.notified() => {}
            }
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
