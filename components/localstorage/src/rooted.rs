//! Paths that stay below a root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use dapr_gocompat::path::clean;

/// Where a root must not lie: a request could read secrets or harm the system.
const DISALLOWED_ROOTS: [&str; 4] = ["/proc", "/sys", "/boot", "/var/run/secrets"];

/// A chain of symbolic links longer than this is taken for a loop.
const MAX_LINKS: usize = 255;

/// Absolute path of the configured root, links of its existing part resolved.
pub(crate) fn resolve_root(configured: &str) -> Result<PathBuf, String> {
    if configured.is_empty() {
        return Err("property rootPath must not be empty".to_owned());
    }
    let given = PathBuf::from(clean(configured));
    let root = if given.is_absolute() {
        given
    } else {
        let cwd = std::env::current_dir()
            .map_err(|e| format!("failed to obtain current working directory: {e}"))?;
        PathBuf::from(clean(&cwd.join(given).to_string_lossy()))
    };
    let mut existing = root.as_path();
    loop {
        match std::fs::metadata(existing) {
            Ok(found) if !found.is_dir() => {
                return Err("property rootPath represents a file and not a directory".to_owned());
            }
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => match existing.parent() {
                Some(parent) => existing = parent,
                None => break,
            },
            Err(e) => {
                let cause = super::cause(&e);
                return Err(format!(
                    "error getting stat for path {0}: stat {0}: {cause}",
                    existing.display()
                ));
            }
        }
    }
    let missing = root.strip_prefix(existing).unwrap_or(Path::new(""));
    let resolved = existing
        .canonicalize()
        .map_err(|e| format!("failed to evaluate symlinks in rootPath: {}", super::cause(&e)))?;
    let root = if missing.as_os_str().is_empty() { resolved } else { resolved.join(missing) };
    if DISALLOWED_ROOTS.iter().any(|bad| root.starts_with(bad)) {
        return Err("property rootPath points to a disallowed location".to_owned());
    }
    Ok(root)
}

/// `name` below `root` as if `root` were the root of the file system: neither
/// `..` nor a symbolic link leads out of it. Parts need not exist.
pub(crate) fn join(root: &Path, name: &str) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    let mut left: VecDeque<OsString> = parts(Path::new(name));
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            inside.pop();
            continue;
        }
        let candidate = root.join(&inside).join(&part);
        match std::fs::symlink_metadata(&candidate) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many levels of symbolic links"));
                }
                let target = std::fs::read_link(&candidate)?;
                if target.is_absolute() {
                    inside = PathBuf::new();
                }
                for part in parts(&target).into_iter().rev() {
                    left.push_front(part);
                }
            }
            Ok(_) => inside.push(part),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                inside.push(part);
            }
            Err(e) => return Err(e),
        }
    }
    // Joining an empty path would leave a slash at the end.
    Ok(if inside.as_os_str().is_empty() { root.to_owned() } else { root.join(inside) })
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// Everything below `folder` that is no folder, in the order of the names.
/// What can not be read is left out. Links are listed, not followed.
pub(crate) fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), files),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
}
