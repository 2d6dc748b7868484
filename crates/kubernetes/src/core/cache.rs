//! The objects of one kind, and how they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What every object has; servers may leave any of it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub resource_version: String,
}

/// An object as far as the caller wants to know it.
pub trait Object: DeserializeOwned + PartialEq + Send + Sync + 'static {
    fn name(&self) -> &str;
    fn namespace(&self) -> &str;
    fn resource_version(&self) -> &str;
}

/// One event of a watch.
#[derive(Debug)]
pub enum Event<T> {
    Set(T),
    Deleted(T),
    /// Nothing but a newer version to resume from.
    Bookmark(String),
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    Created(Arc<T>),
    Updated(Arc<T>),
    /// With what was last known of it.
    Deleted(Arc<T>),
}

type Key = (String, String);

/// Objects by namespace and name.
#[derive(Debug)]
pub struct Cache<T> {
    objects: BTreeMap<Key, Arc<T>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new() }
    }
}

impl<T: Object> Cache<T> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values()
    }

    /// Takes a complete list; whatever is not in it is gone.
    pub fn replace(&mut self, items: Vec<T>) -> Vec<Change<T>> {
        let before = std::mem::take(&mut self.objects);
        let mut changes = Vec::new();
        for item in items {
            let key = key(&item);
            let (object, change) = merged(before.get(&key), item);
            changes.extend(change);
            self.objects.insert(key, object);
        }
        let gone = before.into_iter().filter(|(key, _)| !self.objects.contains_key(key));
        changes.extend(gone.map(|(_, object)| Change::Deleted(object)).collect::<Vec<_>>());
        changes
    }

    /// Takes one event. Deleting what is not known changes nothing.
    pub fn apply(&mut self, event: Event<T>) -> Option<Change<T>> {
        match event {
            Event::Bookmark(_) => None,
            Event::Deleted(object) => {
                self.objects.remove(&key(&object)).map(|_| Change::Deleted(Arc::new(object)))
            }
            Event::Set(object) => {
                let key = key(&object);
                let (object, change) = merged(self.objects.get(&key), object);
                self.objects.insert(key, object);
                change
            }
        }
    }
}

fn key<T: Object>(object: &T) -> Key {
    (object.namespace().to_owned(), object.name().to_owned())
}

/// The object to keep, and what changed. Equal versions are the same object;
/// without versions the content decides.
fn merged<T: Object>(known: Option<&Arc<T>>, next: T) -> (Arc<T>, Option<Change<T>>) {
    let Some(known) = known else {
        let next = Arc::new(next);
        return (next.clone(), Some(Change::Created(next)));
    };
    let version = next.resource_version();
    let same = if version.is_empty() { **known == next } else { known.resource_version() == version };
    if same {
        return (known.clone(), None);
    }
    let next = Arc::new(next);
    (next.clone(), Some(Change::Updated(next)))
}
