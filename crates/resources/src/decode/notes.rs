use std::cell::RefCell;

use crate::yaml::Entry;

/// A field that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    pub key: String,
    /// Line of the key in the file, from one.
    pub line: usize,
    /// The fields that could have been meant.
    pub known: &'static [&'static str],
}

/// Fields of Dapr's types, and of every Kubernetes resource, that no process
/// reads from a file, by the type that has them here.
const ACCEPTED: &[(&str, &[&str])] = &[
    ("Manifest", &["apiVersion", "kind", "status"]),
    ("File", &["apiVersion", "kind", "status", "auth", "scopes"]),
    (
        "ObjectMeta",
        &[
            "labels",
            "uid",
            "generateName",
            "generation",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
            "managedFields",
            "ownerReferences",
            "selfLink",
        ],
    ),
    ("HandlerSpec", &["selector"]),
];

/// What a decoder passed over.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<UnknownField>>);

impl Notes {
    pub(super) fn unknown(&self, of: &str, entry: Entry<'_>, known: &'static [&'static str]) {
        let accepted = |(name, fields): &(&str, &[&str])| *name == of && fields.contains(&entry.key.as_str());
        if !ACCEPTED.iter().any(accepted) {
            self.0.borrow_mut().push(UnknownField { key: entry.key, line: entry.line, known });
        }
    }

    pub(crate) fn into_fields(self) -> Vec<UnknownField> {
        self.0.into_inner()
    }
}
