//! The objects of one kind, as lists and events tell of them.

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    pub name: String,
    /// The resource version, if it is a number: what is told of an object later
    /// has a higher one.
    pub version: Option<u64>,
    pub value: T,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Created or changed: to whom it is new, both are the same.
    Put,
    Deleted,
}

/// The objects of one kind in the order in which they became known.
#[derive(Clone, Debug)]
pub struct Collection<T> {
    entries: Vec<Entry<T>>,
    listed: bool,
}

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), listed: false }
    }
}

impl<T: Clone + PartialEq> Collection<T> {
    /// The objects; `None` until there was a list.
    pub fn current(&self) -> Option<Vec<T>> {
        self.listed.then(|| self.entries.iter().map(|e| e.value.clone()).collect())
    }

    /// Takes a list for what there is. An item that could not be read is in
    /// `unreadable` by its name: what was known of it stays. Returns whether
    /// anything is different now.
    pub fn replace(&mut self, listed: Vec<Entry<T>>, unreadable: &[String]) -> bool {
        let first = !std::mem::replace(&mut self.listed, true);
        let kept = self
            .entries
            .iter()
            .filter(|known| unreadable.contains(&known.name) && !listed.iter().any(|e| e.name == known.name));
        let mut now: Vec<Entry<T>> = kept.cloned().collect();
        now.extend(listed);
        let same = now.len() == self.entries.len()
            && now.iter().all(|e| self.find(&e.name).is_some_and(|known| known.value == e.value));
        self.entries = now;
        first || !same
    }

    /// For a kind that nobody lists: events are all there is. Returns whether
    /// that is new.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// Takes an event. One that is older than what a list has told is dropped:
    /// it waited in a queue meanwhile. Returns whether anything is different.
    pub fn apply(&mut self, kind: EventKind, entry: Entry<T>) -> bool {
        let at = self.entries.iter().position(|known| known.name == entry.name);
        let stale = |known: &Entry<T>| matches!((known.version, entry.version), (Some(k), Some(e)) if e < k);
        match (kind, at) {
            (_, Some(at)) if stale(&self.entries[at]) => false,
            (EventKind::Put, Some(at)) => {
                let changed = self.entries[at].value != entry.value;
                self.entries[at] = entry;
                changed
            }
            (EventKind::Put, None) => {
                self.entries.push(entry);
                true
            }
            (EventKind::Deleted, Some(at)) => {
                self.entries.remove(at);
                true
            }
            (EventKind::Deleted, None) => false,
        }
    }

    fn find(&self, name: &str) -> Option<&Entry<T>> {
        self.entries.iter().find(|e| e.name == name)
    }
}
