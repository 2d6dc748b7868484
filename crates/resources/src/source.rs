use std::fmt;
use std::path::PathBuf;

/// Where a resource was read: for messages only, never part of its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Empty for a resource that did not come from a file, but from the operator.
    pub file: PathBuf,
    /// Number of the document in the file, from zero.
    pub document: usize,
    /// Line of the file at which the document starts, from one.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return f.write_str("the cluster");
        }
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
