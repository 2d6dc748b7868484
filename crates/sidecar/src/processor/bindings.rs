//! Bindings of both directions.

use dapr_blocks::bindings::InputConfig;
use dapr_components::InitContext;
use dapr_resources::{Component, Resource};

use super::{Failure, Processor};

impl Processor {
    pub(super) async fn create_bindings(
        &self,
        component: &Component,
        context: InitContext,
    ) -> Result<Vec<String>, Failure> {
        let (component_type, version) = (&component.component_type, &component.version);
        let input = self.registry.input_bindings.find(component_type, version);
        let output = self.registry.output_bindings.find(component_type, version);
        if input.is_none() && output.is_none() {
            return Err(Failure::Creation(format!("couldn't find binding {}", component.log_name())));
        }
        let direction = context.properties.get("direction").unwrap_or_default().to_ascii_lowercase();
        let wanted = |way: &str| direction.is_empty() || direction.contains(way);
        let mut capabilities = Vec::new();
        if let Some(constructor) = input.filter(|_| wanted("input")) {
            let config = InputConfig {
                declared_input: direction.contains("input"),
                route: context.properties.get_exact("route").filter(|r| !r.is_empty()).map(str::to_owned),
            };
            let binding = constructor(context.clone()).await?;
            self.bindings.add_input(&component.name, binding, config);
            self.initialized(component);
            capabilities.push("INPUT_BINDING".to_owned());
        }
        if let Some(constructor) = output.filter(|_| wanted("output")) {
            let binding = constructor(context).await?;
            self.bindings.add_output(&component.name, binding);
            self.initialized(component);
            capabilities.push("OUTPUT_BINDING".to_owned());
        }
        Ok(capabilities)
    }

    pub(super) async fn close_bindings(&self, name: &str) {
        let (output, input) = self.bindings.remove(name).unwrap_or_default();
        if let Some(input) = input {
            input.close().await;
        }
        if let Some(output) = output {
            output.close().await;
        }
    }
}
