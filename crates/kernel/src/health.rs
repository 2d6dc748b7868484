//! Readiness as a set of named targets (runtime.md §2.2): ready when at least
//! one target exists and every one is ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// All targets of one runtime. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    targets: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a target that is not ready yet.
    pub fn add_target(&self, name: impl Into<String>) -> Target {
        let name = name.into();
        self.targets.lock().insert(name.clone(), false);
        Target { name, targets: self.targets.clone() }
    }

    pub fn is_ready(&self) -> bool {
        let targets = self.targets.lock();
        !targets.is_empty() && targets.values().all(|ready| *ready)
    }

    /// Names of targets that are not ready, sorted.
    pub fn unready(&self) -> Vec<String> {
        self.targets.lock().iter().filter(|(_, ready)| !**ready).map(|(name, _)| name.clone()).collect()
    }
}

/// One part of the runtime whose readiness counts.
#[derive(Clone, Debug)]
pub struct Target {
    name: String,
    targets: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Target {
    pub fn ready(&self) {
        self.set(true);
    }

    pub fn not_ready(&self) {
        self.set(false);
    }

    fn set(&self, ready: bool) {
        self.targets.lock().insert(self.name.clone(), ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_at_least_one_target_and_all_of_them() {
        let health = Health::new();
        assert!(!health.is_ready());
        let a = health.add_target("a");
        let b = health.add_target("b");
        a.ready();
        assert_eq!(health.unready(), ["b"]);
        b.ready();
        assert!(health.is_ready());
        a.not_ready();
        assert!(!health.is_ready());
    }
}
