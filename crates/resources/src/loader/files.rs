use std::fs;
use std::path::{Path, PathBuf};

use super::{LoadError, is_yaml, reason};
use crate::decode::{DecodeError, decode};
use crate::resource::TypeMeta;
use crate::yaml::{Dialect, Node, parse_first_at, split_documents};

/// The files of the resource folders, read and parsed once for all kinds.
#[derive(Clone, Debug, Default)]
pub struct ResourceFiles {
    pub(super) entries: Vec<Entry>,
}

/// One top-level file of a folder, in order of folder and name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    NotYaml { name: String },
    Unreadable { path: PathBuf, reason: String },
    File { path: PathBuf, documents: Vec<Document> },
}

/// One document that is not empty.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub index: usize,
    pub line: usize,
    /// The parsed document and what it says it is, or why it cannot be read.
    pub content: Result<(TypeMeta, Node), DecodeError>,
}

impl ResourceFiles {
    /// Reads every YAML file directly in `dirs`. A folder that cannot be listed
    /// is an error; a file that cannot be read or parsed is reported when a kind
    /// is loaded.
    pub fn read<P: AsRef<Path>>(dirs: &[P]) -> Result<Self, LoadError> {
        let mut entries = Vec::new();
        for dir in dirs {
            for (name, path) in top_level_files(dir.as_ref())? {
                entries.push(read_entry(name, path));
            }
        }
        Ok(Self { entries })
    }
}

/// Names and paths of what is directly in `dir` and no folder, sorted by name.
fn top_level_files(dir: &Path) -> Result<Vec<(String, PathBuf)>, LoadError> {
    let failed = |error: &std::io::Error| LoadError::io("open", dir, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        // A link to a folder counts as a file, as Kubernetes mounts have one.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    files.sort_unstable();
    Ok(files)
}

fn read_entry(name: String, path: PathBuf) -> Entry {
    if !is_yaml(&name) {
        return Entry::NotYaml { name };
    }
    match fs::read(&path) {
        Err(error) => Entry::Unreadable { path, reason: reason(&error) },
        Ok(bytes) => {
            let documents = parse_documents(&String::from_utf8_lossy(&bytes));
            Entry::File { path, documents }
        }
    }
}

fn parse_documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for (index, chunk) in split_documents(text).into_iter().enumerate() {
        let content = match parse_first_at(chunk.text, chunk.line) {
            Ok(None) => continue,
            Ok(Some(node)) => type_meta(&node).map(|meta| (meta, node)),
            Err(error) => Err(DecodeError::from(error).worded(Dialect::Resource, "document")),
        };
        documents.push(Document { index, line: chunk.line, content });
    }
    documents
}

pub(super) fn type_meta(node: &Node) -> Result<TypeMeta, DecodeError> {
    decode(node, Dialect::Resource, "document")
}
