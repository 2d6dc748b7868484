//! Tells consumers, here and in other processes, that there is something new:
//! after a commit one byte is written to a file beside the database, which
//! others watch. A lost notice costs time only: consumers also look by
//! themselves now and then.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

/// How often a consumer looks by itself.
const SAFETY_POLL: Duration = Duration::from_secs(5);
/// The same without file notifications, such as with too many watchers.
const FALLBACK_POLL: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Wake {
    shared: Arc<Shared>,
}

struct Shared {
    rings: Arc<watch::Sender<u64>>,
    file: RwLock<Option<(PathBuf, File)>>,
    watcher: Mutex<Watching>,
}

enum Watching {
    NotYet,
    /// Only this process can see the database.
    NotNeeded,
    Failed,
    Yes {
        _watcher: RecommendedWatcher,
    },
}

/// One consumer's view.
pub(super) struct Listener {
    pub(super) rings: watch::Receiver<u64>,
    /// Longest time between two looks.
    pub(super) poll: Duration,
}

impl Wake {
    pub(super) fn new() -> Self {
        let shared = Shared {
            rings: Arc::new(watch::Sender::new(0)),
            file: RwLock::new(None),
            watcher: Mutex::new(Watching::NotNeeded),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Names the database file that other processes may share.
    pub(super) fn attach(&self, database: PathBuf) {
        let mut path = database;
        path.as_mut_os_string().push("-wake");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        *self.shared.watcher.lock() = match opened {
            Ok(file) => {
                *self.shared.file.write() = Some((path, file));
                Watching::NotYet
            }
            Err(e) => {
                report(&path, &e);
                Watching::Failed
            }
        };
    }

    /// Called after a commit.
    pub(super) fn ring(&self) {
        self.shared.rings.send_modify(|n| *n = n.wrapping_add(1));
        if let Some((path, file)) = &*self.shared.file.read()
            && let Err(e) = file.write_all_at(&[0], 0)
        {
            tracing::debug!(target: "dapr.contrib", "Failed to write {}: {e}", path.display());
        }
    }

    /// Starts to watch for others, once.
    pub(super) fn watch(&self) {
        let mut watching = self.shared.watcher.lock();
        if !matches!(*watching, Watching::NotYet) {
            return;
        }
        let Some((path, _)) = &*self.shared.file.read() else { return };
        let rings = self.shared.rings.clone();
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| event.kind.is_modify()) {
                rings.send_modify(|n| *n = n.wrapping_add(1));
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        *watching = match started {
            Ok(watcher) => Watching::Yes { _watcher: watcher },
            Err(e) => {
                report(path, &e);
                Watching::Failed
            }
        };
    }

    pub(super) fn subscribe(&self) -> Listener {
        let failed = matches!(*self.shared.watcher.lock(), Watching::Failed);
        let poll = if failed { FALLBACK_POLL } else { SAFETY_POLL };
        Listener { rings: self.shared.rings.subscribe(), poll }
    }
}

fn report(path: &Path, error: &dyn std::fmt::Display) {
    tracing::warn!(
        target: "dapr.contrib",
        "pubsub.sqlite cannot watch {} ({error}); it looks for messages every {FALLBACK_POLL:?} instead",
        path.display()
    );
}
