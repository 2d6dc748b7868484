//! Noticing that files changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("failed to create watcher: {0}")]
    Create(notify::Error),
    #[error("failed to add target {folder}: {problem}")]
    Add { folder: String, problem: String },
}

/// Watches folders; stops when dropped. Changes that come together count once.
pub struct FileWatch {
    _watcher: RecommendedWatcher,
    changed: Arc<Notify>,
}

impl FileWatch {
    pub fn new<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Result<Self, WatchError> {
        let changed = Arc::new(Notify::new());
        let notifier = changed.clone();
        let seen = move |event: notify::Result<notify::Event>| {
            // Reading is no change; a failing watch may hide one.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                notifier.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(seen).map_err(WatchError::Create)?;
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|e| {
                let problem = match &e.kind {
                    notify::ErrorKind::PathNotFound => "no such file or directory".to_owned(),
                    notify::ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::NotFound => {
                        "no such file or directory".to_owned()
                    }
                    _ => e.to_string(),
                };
                WatchError::Add { folder: folder.display().to_string(), problem }
            })?;
        }
        Ok(Self { _watcher: watcher, changed })
    }

    /// Waits for a change since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// What files hold, for telling whether that changed. Contents are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Fingerprint {
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let entry = |path: &Path| (path.to_owned(), fs::read(path).ok().map(|content| hash(&content)));
        Self(files.into_iter().map(entry).collect())
    }

    /// Notes what has been written to one of the files.
    pub fn set(&mut self, path: &Path, content: &[u8]) {
        self.0.insert(path.to_owned(), Some(hash(content)));
    }
}

fn hash(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn changes_are_noticed_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "a").unwrap();
        let watch = FileWatch::new([folder.path()]).unwrap();
        let before = Fingerprint::of([file.as_path()]);
        fs::write(&file, "b").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
        assert_ne!(Fingerprint::of([file.as_path()]), before);
        let mut noted = Fingerprint::of([file.as_path()]);
        noted.set(&file, b"a");
        assert_eq!(noted, before);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = FileWatch::new([Path::new("/nowhere/at/all")]).err().unwrap().to_string();
        assert_eq!(error, "failed to add target /nowhere/at/all: no such file or directory");
    }
}
