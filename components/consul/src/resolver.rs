use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use dapr_components::InitError;
use dapr_components::nameresolution::{Error, NameResolver, ResolveRequest, ResolverContext};
use dapr_kernel::tasks::TaskGroup;

use crate::agent::{Agent, Entry};
use crate::cache::Cache;
use crate::settings::Settings;

/// Finds sidecars by the agent of a Consul cluster.
pub struct Consul {
    agent: Arc<Agent>,
    settings: Settings,
    cache: Cache,
    tasks: TaskGroup,
}

impl Consul {
    /// Registers this sidecar, or at least makes sure that there is an agent.
    pub async fn connect(context: ResolverContext) -> Result<Self, InitError> {
        let settings = Settings::parse(&context.configuration, &context.instance).map_err(InitError::new)?;
        let agent = Agent::new(&settings).map_err(|e| {
            InitError::new(format!("failed to init consul client: consul api error initing client: {e}"))
        })?;
        match &settings.registration {
            Some((id, registration)) => {
                let registered = agent.register(registration).await;
                registered.map_err(|e| InitError::new(format!("failed to register consul service: {e}")))?;
                tracing::info!(target: "dapr.contrib", "service:{id} registered on consul agent");
            }
            None => {
                let checked = agent.check().await;
                checked.map_err(|e| InitError::new(format!("failed check on consul agent: {e}")))?;
            }
        }
        let tasks = TaskGroup::new(context.tasks.shutdown().child());
        Ok(Self { agent: Arc::new(agent), settings, cache: Cache::default(), tasks })
    }

    async fn instance(&self, app_id: &str) -> Result<Entry, Error> {
        if self.settings.use_cache
            && let Some(known) = self.cache.pick(app_id, &self.agent, &self.tasks)
        {
            return Ok(known);
        }
        let found = self.agent.healthy(app_id).await;
        let found = found.map_err(|e| Error(format!("failed to query healthy consul services: {e}")))?;
        fastrand::choice(found).ok_or_else(|| none_healthy(app_id))
    }
}

fn none_healthy(app_id: &str) -> Error {
    Error(format!("no healthy services found with AppID '{app_id}'"))
}

#[async_trait]
impl NameResolver for Consul {
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error> {
        let Entry { node, service } = self.instance(request.app_id).await?;
        let key = &self.settings.port_key;
        let port = service.meta.as_ref().and_then(|meta| meta.get(key)).filter(|port| !port.is_empty());
        let port = port.ok_or_else(|| {
            Error(format!("target service AppID '{}' found but {key} missing from meta", request.app_id))
        })?;
        let host = [service.address, node.address].into_iter().find(|address| !address.is_empty());
        let host = host.ok_or_else(|| none_healthy(request.app_id))?;
        Ok(vec![match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{host}:{port}"),
        }])
    }

    async fn close(&self) {
        self.tasks.shutdown().trigger();
        let Some((id, _)) = self.settings.registration.as_ref().filter(|_| self.settings.deregister) else {
            return;
        };
        match self.agent.deregister(id).await {
            Ok(()) => tracing::info!(target: "dapr.contrib", "deregistered service from consul"),
            Err(error) => {
                tracing::error!(target: "dapr.contrib", "failed to deregister consul service: {error}");
            }
        }
    }
}
