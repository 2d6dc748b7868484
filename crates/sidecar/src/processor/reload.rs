//! Components that come, change and go while the sidecar runs (runtime.md §4).

use dapr_resources::diff::{Diff, diff};
use dapr_resources::{Component, Resource};

use super::load::{Outcome, secret_stores_first};
use super::retire::{Held, category};
use super::{ProcessError, Processor};

const SCOPE: &str = "dapr.runtime.hotreload.reconciler";

impl Processor {
    /// What has to be done so that `wanted` is what runs.
    pub async fn difference(&self, wanted: Vec<Component>) -> Diff<Component> {
        let mut diff = diff(&self.inventory.written(), &wanted);
        // The same reference may stand for another secret by now.
        for loaded in self.inventory.all_loaded() {
            let name = &loaded.written.name;
            let Some(component) = wanted.iter().find(|c| c.name == *name) else { continue };
            let known = diff.updated.iter().any(|c| c.name == *name);
            if known || loaded.written.secret_refs().is_empty() {
                continue;
            }
            if !self.secret_refs.is_without_store(component, &self.secrets)
                && self.resolve(component.clone()).await.comparable() != loaded.resolved.comparable()
            {
                diff.updated.push(component.clone());
            }
        }
        diff
    }

    /// Removes, replaces and adds, in this order; `Err` when a failure is fatal.
    pub async fn apply(&self, diff: Diff<Component>) -> Result<(), ProcessError> {
        for component in &diff.deleted {
            self.delete(&component.name).await;
        }
        let changed = secret_stores_first(diff.updated).chain(secret_stores_first(diff.created));
        for component in changed {
            self.update(component).await?;
        }
        Ok(())
    }

    async fn update(&self, component: Component) -> Result<(), ProcessError> {
        let name = component.name.clone();
        let log_name = component.log_name();
        // Whatever is put off under this name is out of date.
        let old = self.inventory.remove(&name);
        self.metadata.available(&name);
        let mut replaced = None;
        if let Some(old) = old {
            let old = old.written;
            let (before, after) =
                (old.component_type.to_lowercase(), component.component_type.to_lowercase());
            tracing::info!(target: SCOPE, "Closing existing Component to reload: {}", old.log_name());
            let held = self.held(&name, &before);
            match held.filter(|_| category(&before) == category(&after)) {
                Some(held) => {
                    self.suspend(&name, &held).await;
                    replaced = Some(held);
                }
                None => self.close_now(&old).await,
            }
        }
        tracing::info!(target: SCOPE, "Adding Component for processing: {log_name}");
        let loaded = self.load(component).await;
        if let Some(held) = replaced {
            self.replaced(&name, held, matches!(loaded, Ok(Outcome::Running))).await;
        }
        loaded?;
        tracing::info!(target: SCOPE, "Component updated: {log_name}");
        Ok(())
    }

    async fn delete(&self, name: &str) {
        self.metadata.available(name);
        let Some(old) = self.inventory.remove(name) else { return };
        self.close_now(&old.written).await;
    }

    /// Takes a component out of use; what is in flight finishes.
    async fn close_now(&self, old: &Component) {
        let kind = old.component_type.to_lowercase();
        match self.held(&old.name, &kind) {
            Some(held) => {
                self.metadata.remove_component(&old.name);
                self.suspend_for_good(&old.name, &held).await;
                self.take_away(&old.name, &held);
                self.retire(held);
            }
            None => {
                let infos = self.metadata.components();
                if let Some(info) = infos.iter().find(|c| c.name == old.name) {
                    self.close(info).await;
                }
                self.metadata.remove_component(&old.name);
            }
        }
    }

    /// Stops what a component brings in, so that two instances never do.
    async fn suspend(&self, name: &str, held: &Held) {
        match held {
            // Its replacement must be there first.
            Held::PubSub(bus) if bus.is_volatile() => {}
            _ => self.suspend_for_good(name, held).await,
        }
    }

    async fn suspend_for_good(&self, name: &str, held: &Held) {
        match held {
            Held::PubSub(_) => self.pubsub.suspend_component(name).await,
            Held::Bindings(_) => self.bindings.stop_input(name).await,
            Held::State(_) | Held::SecretStore(_) | Held::Middleware(_) => {}
        }
    }

    /// Lets the instance before go. It has served until here.
    async fn replaced(&self, name: &str, held: Held, running: bool) {
        if running {
            if let Held::Bindings(old) = &held {
                self.bindings.remove_stale(name, old);
            }
        } else {
            self.suspend_for_good(name, &held).await;
            self.take_away(name, &held);
            self.metadata.remove_component(name);
        }
        self.retire(held);
    }

    /// Lets the application have what a new component brings in.
    pub(super) async fn resume(&self, name: &str, kind: &str) {
        match category(kind) {
            "pubsub" => {
                self.pubsub.resume_component(name).await;
                self.outbox.resume_component(name).await;
            }
            "bindings" => {
                if let Err(error) = self.bindings.start_input(name).await {
                    tracing::warn!(target: SCOPE, "failed to read from binding {name}: {error}");
                }
            }
            _ => {}
        }
    }
}
