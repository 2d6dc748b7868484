//! From paths to documents.

use std::fs;
use std::path::{Path, PathBuf};

use dapr_resources::inspect::{Document, Role, inspect};
use dapr_resources::template::{EnvSource, expand_env};

use crate::{Finding, Job, Severity};

#[derive(Default)]
pub(crate) struct Gathered {
    pub documents: Vec<Read>,
    pub unreadable: Vec<Finding>,
    pub files: Vec<PathBuf>,
}

/// A document and how it came in.
pub(crate) struct Read {
    pub document: Document,
    pub role: Role,
}

pub(crate) fn gather(job: &Job, env: &dyn EnvSource) -> Gathered {
    let mut gathered = Gathered::default();
    for folder in &job.folders {
        match yaml_files(folder) {
            Ok(files) => files.into_iter().for_each(|file| gathered.read(file, Role::Resources, env)),
            Err(error) => gathered.failed(folder, &error),
        }
    }
    job.files.iter().for_each(|file| gathered.read(file.clone(), Role::Resources, env));
    job.configurations.iter().for_each(|file| gathered.read(file.clone(), Role::Configuration, env));
    gathered
}

/// What is directly in `folder`, by name (runtime.md §3.1).
fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let yaml = path.extension().is_some_and(|extension| {
            ["yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        });
        if yaml && !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl Gathered {
    fn read(&mut self, file: PathBuf, role: Role, env: &dyn EnvSource) {
        if self.files.contains(&file) {
            return;
        }
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => return self.failed(&file, &error),
        };
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if role == Role::Configuration {
            text = expand_env(&text, env);
        }
        let documents = inspect(&text, &file, role).into_iter().map(|document| Read { document, role });
        self.documents.extend(documents);
        self.files.push(file);
    }

    fn failed(&mut self, path: &Path, error: &std::io::Error) {
        let message = format!("cannot be read: {error}");
        self.unreadable.push(Finding {
            file: path.to_owned(),
            line: 1,
            severity: Severity::Error,
            resource: String::new(),
            message,
            mend: String::new(),
        });
    }
}
