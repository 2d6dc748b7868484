use std::fs;
use std::path::{Path, PathBuf};

use super::files::type_meta;
use super::{Diagnostic, Loaded, is_yaml, reason};
use crate::Resiliency;
use crate::resource::Resource;
use crate::source::Source;
use crate::yaml::parse_first;

/// Resiliency resources at start-up, for which other rules hold than for other
/// kinds: the first document of each file, by kind alone, a missing folder is no
/// error, and nothing is fatal (runtime.md §3.1). Scopes count, names may repeat.
pub fn load_resiliency(dirs: &[PathBuf], app_id: &str) -> Loaded<Resiliency> {
    let mut loaded = Loaded { resources: Vec::new(), warnings: Vec::new() };
    for dir in dirs {
        let mut paths: Vec<PathBuf> = match fs::read_dir(dir) {
            Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let dir = dir.display();
                loaded.warnings.push(Diagnostic::error(format!(
                    "Failed to read resiliency files from path {dir}: open {dir}: {}",
                    reason(&error)
                )));
                continue;
            }
        };
        paths.sort_unstable();
        for path in paths {
            match read(&path) {
                Ok(Some(resource)) if resource.is_scoped_to(app_id) => loaded.resources.push(resource),
                Ok(_) => {}
                Err(diagnostic) => loaded.warnings.push(diagnostic),
            }
        }
    }
    loaded
}

/// `None` when the file is about something else.
fn read(path: &Path) -> Result<Option<Resiliency>, Diagnostic> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !is_yaml(&name) {
        let message = format!("A non-YAML resiliency file {name} was detected, it will not be loaded");
        return Err(Diagnostic::warning(message));
    }
    let bytes = fs::read(path).map_err(|error| {
        let reason = reason(&error);
        Diagnostic::error(format!("Could not read resiliency file {name}: open {}: {reason}", path.display()))
    })?;
    let unknown =
        |problem: String| Diagnostic::error(format!("Could not determine resource type: {name}: {problem}"));
    let Some(node) = parse_first(&String::from_utf8_lossy(&bytes)).map_err(|e| unknown(e.to_string()))?
    else {
        return Ok(None);
    };
    if type_meta(&node).map_err(|e| unknown(e.to_string()))?.kind != Resiliency::KIND {
        return Ok(None);
    }
    let source = Source { file: path.to_owned(), document: 0, line: node.line };
    Resiliency::from_node(&node, source)
        .map(Some)
        .map_err(|error| Diagnostic::error(format!("Could not parse resiliency file {name}: {error}")))
}
