//! The application's life as the sidecar follows it: found, asked for its
//! configuration, healthy, unhealthy (runtime.md §2.1, §5).

use std::sync::Arc;

use dapr_app_channel::AppChannel;
use dapr_app_channel::health::{AppHealth, ProbeOptions};
use dapr_components::middleware::Pipeline;
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_transport::Body;
use http::{Method, Request, StatusCode};

use crate::options::Options;

const SCOPE: &str = "dapr.runtime";

/// The channel, when the application has a port.
pub fn channel(
    options: &Options,
    health: &AppHealth,
    metrics: Option<Arc<Catalogue>>,
    pipeline: Pipeline,
    zero_trace: bool,
    tasks: &TaskGroup,
) -> Option<AppChannel> {
    if options.app.port == 0 {
        tracing::warn!(target: SCOPE, "App channel is not initialized. Did you configure an app-port?");
        return None;
    }
    let settings = dapr_app_channel::Options {
        protocol: options.app.protocol,
        address: options.app.address.clone(),
        port: options.app.port,
        max_concurrency: options.app.max_concurrency,
        token: options.app.token.clone(),
        max_response_head: options.max_header,
        max_message: options.max_body.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        metrics,
        pipeline,
        zero_trace,
    };
    if let Some(limit) = options.app.max_concurrency {
        tracing::info!(target: SCOPE, "app max concurrency set to {limit}");
    }
    Some(AppChannel::new(settings, health.clone(), tasks.clone()))
}

/// Begins probing, or declares the application healthy: its port answered.
pub fn watch_health(options: &Options, channel: Option<&AppChannel>, health: &AppHealth, tasks: &TaskGroup) {
    match (&options.app.health, channel) {
        (Some(probe), Some(channel)) => {
            let probe = ProbeOptions {
                path: probe.path.clone(),
                interval: probe.interval,
                timeout: probe.timeout,
                threshold: probe.threshold,
            };
            health.start_probing(channel.clone(), probe, tasks);
        }
        _ => health.set(true),
    }
}

/// What must follow the application's health.
pub struct Follower {
    pub identity: AppIdentity,
    pub channel: Option<AppChannel>,
    pub pubsub: dapr_blocks::pubsub::PubSubService,
    pub bindings: dapr_blocks::bindings::BindingsService,
    pub outbox: dapr_blocks::outbox::Outbox,
    pub state: dapr_blocks::state::StateService,
    pub skip_config: bool,
}

impl Follower {
    /// Starts and stops subscriptions and input bindings until `tasks` stops.
    /// For an application that is healthy already, returns when they stand:
    /// whoever sees the sidecar ready may publish at once.
    pub async fn start(self, health: &AppHealth, tasks: &TaskGroup) {
        let mut changes = health.subscribe();
        let this = Arc::new(self);
        let mut asked = false;
        let mut was = *changes.borrow_and_update();
        if was {
            asked = true;
            this.begin().await;
        }
        tasks.spawn_until_shutdown("app health follower", async move {
            loop {
                let now = *changes.borrow_and_update();
                if now && !was {
                    if asked {
                        this.resume().await;
                    } else {
                        asked = true;
                        this.begin().await;
                    }
                } else if !now && was {
                    this.bindings.stop_inputs().await;
                    this.pubsub.stop_subscriptions().await;
                }
                was = now;
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    async fn begin(&self) {
        self.load_config().await;
        self.resume().await;
    }

    async fn resume(&self) {
        self.pubsub.start_subscriptions().await;
        self.bindings.start_inputs().await;
        self.outbox.start(&self.state).await;
    }

    /// Asks an HTTP application for its configuration. Only actors use it, and
    /// this release hosts none; the application is asked all the same because
    /// some count on the call.
    async fn load_config(&self) {
        if self.skip_config {
            tracing::warn!(
                target: SCOPE,
                "Skipping programmatic dapr configuration loading (see 'disable-init-endpoints' flag/annotation)"
            );
            return;
        }
        let Some(http) = self.channel.as_ref().and_then(AppChannel::http) else { return };
        let request = Request::builder()
            .method(Method::GET)
            .uri("/dapr/config")
            .header("dapr-app-id", self.identity.app_id())
            .body(Body::empty());
        let Ok(request) = request else { return };
        match http.send(request).await {
            Ok(response) if response.status() == StatusCode::OK => {
                let body = response.into_body().collect().await.unwrap_or_default();
                report_entities(&body);
                tracing::info!(target: SCOPE, "Application configuration loaded");
            }
            Ok(response) => {
                let _ = response.into_body().collect().await;
            }
            Err(error) => tracing::warn!(target: SCOPE, "Failed to complete app init: {error}"),
        }
    }
}

fn report_entities(body: &[u8]) {
    let config: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if config["entities"].as_array().is_some_and(|e| !e.is_empty()) {
        tracing::warn!(
            target: SCOPE,
            "The application hosts actor types {}, but this release has no actor runtime: they are not served",
            config["entities"]
        );
    }
}
