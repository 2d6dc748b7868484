//! What is wrong with resource files, found before anything runs: with file,
//! line and how to mend it (docs/lint.md).
//!
//! This crate must not know the sidecar or the command line. What a build can
//! run comes in as a [`Catalogue`], made of the registry of components and of
//! functions for what only the sidecar compiles. It starts nothing, connects to
//! nothing and writes nothing. Entry points: [`lint`], [`Job`], [`Finding`].
#![forbid(unsafe_code)]

mod catalogue;
mod gather;
mod place;
mod rules;
mod suggest;

use std::path::PathBuf;

pub use catalogue::{Catalogue, Checks};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The sidecar refuses or skips the resource, or it is plainly a slip.
    Error,
    /// The sidecar runs, though hardly as the file was meant.
    Warning,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// From one.
    pub line: usize,
    pub severity: Severity,
    /// `Component statestore`; empty when the document does not say.
    pub resource: String,
    pub message: String,
    /// What to do about it; may be empty.
    pub mend: String,
}

/// What is checked together: the files that one sidecar, or several alike, load.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Resource folders: the YAML files directly in them.
    pub folders: Vec<PathBuf>,
    /// Single resource files.
    pub files: Vec<PathBuf>,
    /// What `--config` names.
    pub configurations: Vec<PathBuf>,
    /// Whom the files are loaded for, where that is known.
    pub app: Option<String>,
    /// Every application there is, where that is known.
    pub apps: Option<Vec<String>>,
    /// Where the sidecar runs, for relative paths in metadata.
    pub working_folder: Option<PathBuf>,
    /// Types that pluggable components serve here.
    pub pluggable: Vec<String>,
}

/// What came of a [`Job`].
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In order of file and line.
    pub findings: Vec<Finding>,
    /// Files that were looked at.
    pub files: Vec<PathBuf>,
}

impl Report {
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Adds what another job found; files that both looked at count once.
    pub fn merge(&mut self, other: Report) {
        for finding in other.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        for file in other.files {
            if !self.files.contains(&file) {
                self.files.push(file);
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (&a.file, a.line, a.severity, &a.message).cmp(&(&b.file, b.line, b.severity, &b.message))
        });
    }
}

/// Checks the files of `job`. References between resources are followed when a
/// folder is among them: a single file says nothing about its neighbours.
pub fn lint(job: &Job, catalogue: &Catalogue, env: &dyn dapr_resources::template::EnvSource) -> Report {
    let gathered = gather::gather(job, env);
    let mut report = Report { findings: gathered.unreadable, files: gathered.files };
    let set = rules::Set { documents: &gathered.documents, job, catalogue };
    rules::run(&set, &mut report.findings);
    let mut once: Vec<Finding> = Vec::with_capacity(report.findings.len());
    for finding in report.findings.drain(..) {
        if !once.contains(&finding) {
            once.push(finding);
        }
    }
    report.findings = once;
    report.sort();
    report
}
