//! Notices changes in resource folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Quiet time after a change: one write is several events (runtime.md §4).
const DEBOUNCE: Duration = Duration::from_millis(5);
/// However busy a folder is, changes are looked at after this time.
const MAX_DEBOUNCE: Duration = Duration::from_millis(100);

/// Watches folders, not what is below them.
pub struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    /// A change was seen and not reported yet.
    seen: bool,
    /// What each folder was when it was last watched: a link may be pointed to
    /// another folder.
    folders: BTreeMap<PathBuf, PathBuf>,
}

impl Watch {
    pub fn new(folders: &[PathBuf]) -> notify::Result<Self> {
        // One pending change says all: everything is read again.
        let (changed, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let counts = event.map_or(true, |event| counts(event.kind));
            if counts {
                let _ = changed.try_send(());
            }
        })?;
        let folders = folders.iter().map(|f| (f.clone(), PathBuf::new())).collect();
        let mut watch = Self { watcher, changes, seen: false, folders };
        watch.follow()?;
        Ok(watch)
    }

    /// Resolves after a change, once the folders have been quiet. Cancelling
    /// loses nothing.
    pub async fn changed(&mut self) {
        if !self.seen && self.changes.recv().await.is_none() {
            return std::future::pending().await;
        }
        self.seen = true;
        let quiet = async { while tokio::time::timeout(DEBOUNCE, self.changes.recv()).await.is_ok() {} };
        let _ = tokio::time::timeout(MAX_DEBOUNCE, quiet).await;
        self.seen = false;
        // A folder that is gone is reported by whoever reads it next.
        let _ = self.follow();
    }

    /// Watches folders that are new or that a link now leads to, and the place
    /// where such a link is.
    fn follow(&mut self) -> notify::Result<()> {
        let mut outcome = Ok(());
        for (folder, known) in &mut self.folders {
            let now = std::fs::canonicalize(folder).unwrap_or_default();
            if now == *known {
                continue;
            }
            let _ = self.watcher.unwatch(folder);
            outcome = outcome.and(self.watcher.watch(folder, RecursiveMode::NonRecursive));
            if folder.is_symlink()
                && let Some(parent) = folder.parent()
            {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                outcome = outcome.and(self.watcher.watch(parent, RecursiveMode::NonRecursive));
            }
            *known = now;
        }
        outcome
    }
}

/// Reading a file is no change, or looking at one would never end.
fn counts(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn change(watch: &mut Watch) {
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("noticed");
    }

    #[tokio::test]
    async fn changes_are_noticed_and_reading_is_none() {
        let dir = std::env::temp_dir().join(format!("dapr-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&dir)).unwrap();
        fs::write(dir.join("a.yaml"), "x").unwrap();
        change(&mut watch).await;
        fs::rename(dir.join("a.yaml"), dir.join("b.yaml")).unwrap();
        change(&mut watch).await;
        assert_eq!(fs::read_to_string(dir.join("b.yaml")).unwrap(), "x");
        let quiet = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(quiet.is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_change_outlives_a_cancelled_wait() {
        let dir = std::env::temp_dir().join(format!("dapr-watch-cancel-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&dir)).unwrap();
        fs::write(dir.join("a.yaml"), "x").unwrap();
        for _ in 0..1000 {
            let _ = tokio::time::timeout(Duration::from_micros(100), watch.changed()).await;
            if watch.seen {
                break;
            }
        }
        assert!(watch.seen);
        change(&mut watch).await;
        fs::remove_dir_all(&dir).unwrap();
    }
}
