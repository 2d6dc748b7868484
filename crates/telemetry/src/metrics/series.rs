//! Looking up a series by its label values without allocating.

use std::hash::{Hash, Hasher};

use indexmap::{Equivalent, IndexMap};
use parking_lot::RwLock;

/// Label values of a series, in the order the family declares its labels.
pub(super) type Key = Box<[Box<str>]>;

pub(super) fn key(values: &[&str]) -> Key {
    values.iter().map(|v| Box::from(*v)).collect()
}

struct Values<'a>(&'a [&'a str]);

// Hashes as `Key` does: a length, then each text.
impl Hash for Values<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Key> for Values<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0.len() == key.len() && self.0.iter().zip(key.iter()).all(|(a, b)| *a == &**b)
    }
}

/// Handles by label values: for recorders that resolve several families with
/// the same labels at once. Bounded; beyond the bound handles are made anew
/// each time.
#[derive(Debug)]
pub struct SeriesCache<H> {
    map: RwLock<IndexMap<Key, H>>,
    limit: usize,
}

impl<H: Clone> SeriesCache<H> {
    pub fn new(limit: usize) -> Self {
        Self { map: RwLock::default(), limit }
    }

    /// The handle for `values`, if it was made before.
    pub fn get(&self, values: &[&str]) -> Option<H> {
        self.map.read().get(&Values(values)).cloned()
    }

    /// The handle for `values`, made by `make` the first time.
    pub fn get_or_make(&self, values: &[&str], make: impl FnOnce() -> H) -> H {
        if let Some(found) = self.get(values) {
            return found;
        }
        let made = make();
        let mut map = self.map.write();
        if map.len() < self.limit {
            return map.entry(key(values)).or_insert(made).clone();
        }
        made
    }

    pub(super) fn len(&self) -> usize {
        self.map.read().len()
    }

    /// Adds the handle for `values` unless it is there, the cache is full or
    /// `make` refuses.
    pub(super) fn insert_with(&self, values: &[&str], make: impl FnOnce() -> Option<H>) -> Option<H> {
        // Made under the lock: two threads must not count one series twice.
        let mut map = self.map.write();
        if let Some(found) = map.get(&Values(values)) {
            return Some(found.clone());
        }
        if map.len() >= self.limit {
            return None;
        }
        let made = make()?;
        map.insert(key(values), made.clone());
        Some(made)
    }

    /// Every series, sorted by label values.
    pub(super) fn sorted(&self) -> Vec<(Key, H)> {
        let mut all: Vec<_> = self.map.read().iter().map(|(k, h)| (k.clone(), h.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
