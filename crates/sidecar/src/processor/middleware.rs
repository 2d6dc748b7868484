//! HTTP middleware, and the pipelines of a Configuration (runtime.md §6).

use dapr_components::InitContext;
use dapr_components::middleware::{HandlerRef, Pipeline};
use dapr_resources::Component;
use dapr_resources::configuration::PipelineSpec;

use super::{Failure, Processor, find};

impl Processor {
    /// Whatever goes wrong here counts as a failed creation, unlike with the
    /// other kinds.
    pub(super) async fn create_middleware(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let (name, kind, version) = (&component.name, &component.component_type, &component.version);
        let failed = |reason: String| Failure::Creation(format!("process component {name} error: {reason}"));
        let constructor = find(&self.registry.middleware, component).map_err(|e| failed(e.into_reason()))?;
        let created = constructor(context).await;
        let middleware =
            created.map_err(|e| failed(format!("error creating HTTP middleware {kind}/{version}: {e}")))?;
        self.middleware.add(name, kind, version, middleware);
        Ok(Vec::new())
    }

    pub(super) async fn close_middleware(&self, name: &str) {
        if let Some(removed) = self.middleware.remove(name) {
            removed.close().await;
        }
    }

    /// A pipeline that follows the middleware components as they come and go.
    pub fn pipeline(&self, name: &'static str, spec: &PipelineSpec) -> Pipeline {
        let wanted = spec.handlers.iter().map(|handler| HandlerRef {
            name: handler.name.clone(),
            component_type: handler.handler_type.clone(),
            version: handler.version.clone(),
        });
        self.middleware.pipeline(name, wanted.collect())
    }
}
