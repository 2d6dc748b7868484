//! What changed between two loaded sets of one kind (runtime.md §4).

use crate::resource::Resource;

/// Resources by what became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff<T> {
    /// In the new set only.
    pub created: Vec<T>,
    /// In both under the same name with different content, as in the new set.
    pub updated: Vec<T>,
    /// In the old set only.
    pub deleted: Vec<T>,
}

impl<T> Diff<T> {
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.deleted.is_empty()
    }
}

/// Compares by name and content; source and (but for Resiliency) namespace are
/// not content. What the process made itself is never deleted.
pub fn diff<T: Resource>(old: &[T], new: &[T]) -> Diff<T> {
    let changed = |items: &[T], others: &[T]| -> Vec<T> {
        let others: Vec<T> = others.iter().map(Resource::comparable).collect();
        items.iter().filter(|item| !others.contains(&item.comparable())).cloned().collect()
    };
    let arrived = changed(new, old);
    let mut gone = changed(old, new);
    gone.retain(|item| !item.is_builtin());
    let has = |items: &[T], name: &str| items.iter().any(|item| item.name() == name);
    let (updated, created) = arrived.iter().cloned().partition(|item| has(&gone, item.name()));
    gone.retain(|item| !has(&arrived, item.name()));
    Diff { created, updated, deleted: gone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, Resiliency, Source};

    fn component(name: &str, version: &str) -> Component {
        Component { name: name.to_owned(), version: version.to_owned(), ..Default::default() }
    }

    fn names(items: &[Component]) -> Vec<&str> {
        items.iter().map(|c| c.name.as_str()).collect()
    }

    #[test]
    fn created_updated_deleted() {
        let old = [component("same", "v1"), component("changed", "v1"), component("gone", "v1")];
        let new = [component("fresh", "v1"), component("changed", "v2"), component("same", "v1")];
        let diff = diff(&old, &new);
        assert_eq!(names(&diff.created), ["fresh"]);
        assert_eq!(names(&diff.updated), ["changed"]);
        assert_eq!(diff.updated[0].version, "v2");
        assert_eq!(names(&diff.deleted), ["gone"]);
    }

    #[test]
    fn source_and_namespace_are_not_content() {
        let old = component("a", "v1");
        let source = Source { line: 7, ..Default::default() };
        let new = Component { namespace: "ns".to_owned(), source, ..old.clone() };
        assert!(diff(&[old], &[new]).is_empty());
        let old = Resiliency { name: "r".to_owned(), ..Default::default() };
        let new = Resiliency { namespace: "ns".to_owned(), ..old.clone() };
        assert_eq!(diff(&[old], &[new]).updated.len(), 1);
    }

    #[test]
    fn the_built_in_secret_store_is_not_deleted() {
        let builtin = Component {
            name: "kubernetes".to_owned(),
            component_type: "secretstores.kubernetes".to_owned(),
            ..Default::default()
        };
        assert!(diff(&[builtin], &[]).is_empty());
    }

    #[test]
    fn nothing_to_compare() {
        assert!(diff::<Component>(&[], &[]).is_empty());
    }
}
