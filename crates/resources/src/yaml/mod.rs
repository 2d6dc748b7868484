//! YAML as Go programs read it (runtime.md §3.1, §3.4).
//!
//! Two dialects exist side by side: resource files go through YAML 1.1 scalars
//! and JSON, configuration files through Go's `yaml.v3`. A parsed [`Node`] keeps
//! scalars as written, so that the dialect is chosen when a value is wanted.

mod compose;
mod entries;
mod scalar;
mod split;
mod value;

pub use compose::{parse_first, parse_first_at};
pub use entries::Entry;
pub(crate) use scalar::old_bool_word;
pub use scalar::{Resolved, Scalar};
pub use split::{Chunk, split_documents};
pub(crate) use value::scalar_as_string;

/// How scalars, keys and duplicates are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Resource files: YAML 1.1 booleans, field names in any case, numbers and
    /// booleans become strings where a string is wanted, the last of duplicate
    /// keys wins.
    Resource,
    /// Configuration files: field names as written, any scalar is a string where
    /// a string is wanted, duplicate keys are an error.
    Configuration,
}

/// One parsed YAML node, aliases already replaced by what they refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line in the file, from one.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// Keys and values as written, merge keys included; see [`Node::entries`].
    Mapping(Vec<(Node, Node)>),
}

/// Text that is not YAML, or YAML that has no JSON counterpart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {line}: {problem}")]
pub struct YamlError {
    /// Line in the file, from one.
    pub line: usize,
    pub problem: String,
}

impl YamlError {
    pub(crate) fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }
}

impl Node {
    /// A null that nobody wrote.
    pub fn null(line: usize) -> Self {
        Self { line, kind: Kind::Scalar(Scalar::plain("")) }
    }

    /// Whether the node is a null scalar.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }
}

#[cfg(test)]
mod tests;
