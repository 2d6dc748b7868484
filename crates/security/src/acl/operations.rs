//! The operations of a policy as a tree of path segments. The first branch
//! that fits is taken, in the order of the specification: the more specific
//! rule must stand first to win (control-plane.md §13).

use std::collections::HashMap;

use super::{ANY_VERB, OperationSpec, Protocol, allows};

/// What is said about one operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// For calls that have no verbs.
    pub allows: bool,
    verbs: HashMap<String, bool>,
}

impl Operation {
    /// What is said about `verb`, by name or by `*`.
    pub fn allows_verb(&self, verb: &str) -> Option<bool> {
        self.verbs.get(verb).or_else(|| self.verbs.get(ANY_VERB)).copied()
    }
}

#[derive(Debug, Default)]
pub(super) struct Operations(Vec<Branch>);

#[derive(Debug)]
struct Branch {
    segment: String,
    operation: Option<Operation>,
    below: Vec<Branch>,
}

impl Branch {
    /// `*` alone stands for one last segment, `**` alone for any; within a
    /// segment `*` is any run of characters.
    fn fits(&self, segment: &str, last: bool) -> bool {
        match self.segment.as_str() {
            pattern if pattern == segment => true,
            "*" => last,
            "**" => true,
            pattern => pattern.contains('*') && matches(pattern.as_bytes(), segment.as_bytes()),
        }
    }
}

impl Operations {
    pub fn compile(specs: &[OperationSpec], app: Protocol) -> Self {
        let mut root = Vec::new();
        for spec in specs {
            let allowed = allows(&spec.action);
            let operation = Operation {
                allows: allowed,
                verbs: spec.verbs.iter().map(|verb| (verb.clone(), allowed)).collect(),
            };
            match app {
                Protocol::Http => insert(&mut root, &spec.name.to_lowercase(), operation),
                Protocol::Grpc => insert(&mut root, &spec.name, operation),
            }
        }
        Self(root)
    }

    /// The rule for `path`, which may have a leading slash. An operation also
    /// covers the paths below it.
    pub fn find(&self, path: &str) -> Option<&Operation> {
        let mut branches = self.0.as_slice();
        let mut segments = segments(path).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let branch = branches.iter().find(|branch| branch.fits(segment, last))?;
            branches = &branch.below;
            match &branch.operation {
                // A segment that is a literal star is not yet the end.
                Some(_) if !last && branch.segment == "*" => {}
                Some(operation) => return Some(operation),
                // `/a/*` and `/a/**` cover `/a` itself.
                None if last => return branches.iter().find(|b| b.fits("*", true))?.operation.as_ref(),
                None => {}
            }
        }
        None
    }
}

/// Without recursion: a path may have any number of segments.
impl Drop for Operations {
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.0);
        while let Some(mut branch) = left.pop() {
            left.append(&mut branch.below);
        }
    }
}

/// What is said first about a path stays.
fn insert(branches: &mut Vec<Branch>, path: &str, operation: Operation) {
    let mut branches = branches;
    let mut segments = segments(path).peekable();
    while let Some(segment) = segments.next() {
        let index = branches.iter().position(|b| b.segment == segment).unwrap_or_else(|| {
            branches.push(Branch { segment: segment.to_owned(), operation: None, below: Vec::new() });
            branches.len() - 1
        });
        let branch = &mut branches[index];
        if segments.peek().is_none() {
            branch.operation.get_or_insert(operation);
            return;
        }
        branches = &mut branch.below;
    }
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// Whether `pattern`, in which `*` is any run of bytes, covers all of `text`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last star has to swallow one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = retry {
            (p, t) = (after, from + 1);
            retry = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}
