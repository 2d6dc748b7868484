//! What became of every component resource.

use std::collections::BTreeMap;

use dapr_resources::Component;
use parking_lot::Mutex;

/// The components of a sidecar by their state.
#[derive(Debug, Default)]
pub struct Inventory(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    loaded: BTreeMap<String, Loaded>,
    /// Their secret store, by name, is not there yet.
    parked: Vec<(String, Component)>,
    /// Their start failed and is tried again in the background.
    retrying: Vec<Component>,
}

/// A component that runs.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// As its resource was written.
    pub written: Component,
    /// With secrets and environment references in place.
    pub resolved: Component,
}

impl Inventory {
    /// Components as they were written: those that run and those that wait.
    pub fn written(&self) -> Vec<Component> {
        let table = self.0.lock();
        let loaded = table.loaded.values().map(|l| l.written.clone());
        loaded
            .chain(table.parked.iter().map(|(_, c)| c.clone()))
            .chain(table.retrying.iter().cloned())
            .collect()
    }

    pub(super) fn all_loaded(&self) -> Vec<Loaded> {
        self.0.lock().loaded.values().cloned().collect()
    }

    pub(super) fn insert(&self, written: Component, resolved: Component) {
        self.0.lock().loaded.insert(written.name.clone(), Loaded { written, resolved });
    }

    /// Forgets a component whatever its state was.
    pub(super) fn remove(&self, name: &str) -> Option<Loaded> {
        let mut table = self.0.lock();
        table.parked.retain(|(_, c)| c.name != name);
        table.retrying.retain(|c| c.name != name);
        table.loaded.remove(name)
    }

    /// The latest copy of a name counts.
    pub(super) fn park(&self, store: String, component: Component) {
        let parked = &mut self.0.lock().parked;
        parked.retain(|(_, c)| c.name != component.name);
        parked.push((store, component));
    }

    /// The store that each waits for, and the component.
    pub(super) fn parked(&self) -> Vec<(String, Component)> {
        self.0.lock().parked.clone()
    }

    /// Takes the components that wait for the secret store `store`.
    pub(super) fn unpark(&self, store: &str) -> Vec<Component> {
        let parked = &mut self.0.lock().parked;
        parked.extract_if(.., |(awaited, _)| awaited == store).map(|(_, component)| component).collect()
    }

    pub(super) fn retry_later(&self, component: Component) {
        let retrying = &mut self.0.lock().retrying;
        retrying.retain(|c| c.name != component.name);
        retrying.push(component);
    }

    pub(super) fn retrying(&self) -> Vec<Component> {
        self.0.lock().retrying.clone()
    }
}
