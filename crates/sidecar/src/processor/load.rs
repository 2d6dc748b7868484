//! Starting components one after the other (runtime.md §2.3).

use std::collections::VecDeque;

use dapr_blocks::metadata::{Absence, UnavailableComponent};
use dapr_resources::{Component, Resource};

use super::{Failure, ProcessError, Processor, Refusal, SCOPE};

/// How a start ended that was not fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    /// Failed and ignored, or put off.
    Absent,
}

impl Processor {
    /// Starts all, secret stores first, one at a time and in order. Components
    /// whose secrets are in a store that is still to come wait for it.
    pub async fn load_all(&self, components: Vec<Component>) -> Result<(), ProcessError> {
        for component in secret_stores_first(components) {
            self.load(component).await?;
        }
        for (store, component) in self.inventory.parked() {
            tracing::warn!(
                target: SCOPE,
                "component {} refers to secret store {store}, which is not loaded; it waits for it",
                component.log_name()
            );
        }
        Ok(())
    }

    /// Starts a component, and those that waited for it; `Err` only when a
    /// failure is fatal.
    pub(super) async fn load(&self, component: Component) -> Result<Outcome, ProcessError> {
        let mut queue = VecDeque::from([component]);
        let mut first = None;
        while let Some(component) = queue.pop_front() {
            let name = component.name.clone();
            let outcome = self.load_or_park(component).await?;
            first.get_or_insert(outcome);
            if outcome == Outcome::Running {
                queue.extend(self.inventory.unpark(&name));
            }
        }
        Ok(first.unwrap_or(Outcome::Absent))
    }

    async fn load_or_park(&self, component: Component) -> Result<Outcome, ProcessError> {
        if self.secret_refs.is_without_store(&component, &self.secrets) {
            self.inventory.park(self.secret_refs.store_of(&component).to_owned(), component);
            return Ok(Outcome::Absent);
        }
        match self.start(component.clone()).await {
            Ok(resolved) => {
                self.running(component, resolved).await;
                Ok(Outcome::Running)
            }
            Err(refusal) => self.refused(component, refusal).map(|()| Outcome::Absent),
        }
    }

    /// Notes a component that runs and lets the application have it.
    pub(super) async fn running(&self, component: Component, resolved: Component) {
        tracing::info!(target: SCOPE, "Component loaded: {}", component.log_name());
        if let Some(metrics) = &self.metrics {
            metrics.runtime.component_loaded();
        }
        let (name, kind) = (component.name.clone(), component.component_type.to_lowercase());
        self.metadata.available(&name);
        self.inventory.insert(component, resolved);
        self.resume(&name, &kind).await;
    }

    /// Decides what a failed start means.
    fn refused(&self, component: Component, refusal: Refusal) -> Result<(), ProcessError> {
        let log_name = component.log_name();
        let Refusal { reason, transient, wrapped } = refusal;
        tracing::error!(target: SCOPE, "Failed to init component {log_name}: {reason}");
        tracing::debug!(target: SCOPE, "Component {log_name} is from {}", component.source);
        let retry = component.init_retry && transient;
        // Dapr wraps what went wrong once more.
        let reason = match wrapped {
            true => Failure::Init(reason).describe(&log_name),
            false => reason,
        };
        let error = ProcessError { name: component.name.clone(), reason: reason.clone() };
        if !retry && !component.ignore_errors {
            tracing::warn!(target: SCOPE, "Error processing component, daprd will exit gracefully: {error}");
            return Err(error);
        }
        self.metadata.unavailable(UnavailableComponent {
            name: component.name.clone(),
            component_type: component.component_type.clone(),
            version: component.version.clone(),
            absence: if retry { Absence::Retrying } else { Absence::Failed },
            error: reason,
            attempts: 1,
        });
        if retry {
            tracing::warn!(target: SCOPE, "Component {log_name} is tried again in the background");
            self.inventory.retry_later(component);
        } else {
            tracing::error!(target: SCOPE, "Ignoring error processing component: {error}");
        }
        Ok(())
    }
}

/// Secrets are there for whoever comes later.
pub(super) fn secret_stores_first(components: Vec<Component>) -> impl Iterator<Item = Component> {
    let (stores, others): (Vec<_>, Vec<_>) =
        components.into_iter().partition(|c| c.component_type.to_lowercase().starts_with("secretstores."));
    stores.into_iter().chain(others)
}
