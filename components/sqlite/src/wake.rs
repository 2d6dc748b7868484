//! Tells consumers, here and in other processes, that there is something new.
//! Where this crate writes, one byte goes to a file beside the database after
//! a commit, and others watch that file; where anybody may write, the
//! database's own files are watched. A lost notice costs time only: consumers
//! also look by themselves now and then.

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
pub(crate) struct Wake {
    shared: Arc<Shared>,
}

struct Shared {
    rings: Arc<watch::Sender<u64>>,
    file: RwLock<Option<(PathBuf, File)>>,
    /// The database, where its own files are watched.
    database: RwLock<Option<PathBuf>>,
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
pub(crate) struct Listener {
    pub(crate) rings: watch::Receiver<u64>,
    /// Longest time between two looks.
    pub(crate) poll: Duration,
}

impl Wake {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            rings: Arc::new(watch::Sender::new(0)),
            file: RwLock::new(None),
            database: RwLock::new(None),
            watcher: Mutex::new(Watching::NotNeeded),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Names the database file that other processes may share.
    pub(crate) fn attach(&self, database: PathBuf) {
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

    /// Names a database that programs which know nothing of this file write
    /// to.
    pub(crate) fn attach_database(&self, database: PathBuf) {
        *self.shared.database.write() = Some(database);
        *self.shared.watcher.lock() = Watching::NotYet;
    }

    /// Called after a commit.
    pub(crate) fn ring(&self) {
        self.shared.rings.send_modify(|n| *n = n.wrapping_add(1));
        if let Some((path, file)) = &*self.shared.file.read()
            && let Err(e) = file.write_all_at(&[0], 0)
        {
            tracing::debug!(target: "dapr.contrib", "Failed to write {}: {e}", path.display());
        }
    }

    /// Starts to watch for others, once.
    pub(crate) fn watch(&self) {
        let mut watching = self.shared.watcher.lock();
        if !matches!(*watching, Watching::NotYet) {
            return;
        }
        let database = self.shared.database.read().clone();
        let path = match (&database, &*self.shared.file.read()) {
            // Files come and go beside it, so the folder is what is watched.
            (Some(database), _) => folder_of(database),
            (None, Some((path, _))) => path.clone(),
            (None, None) => return,
        };
        let rings = self.shared.rings.clone();
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let wanted = match &database {
                None => event.kind.is_modify(),
                Some(database) => {
                    !event.kind.is_access() && event.paths.iter().any(|path| belongs_to(path, database))
                }
            };
            if wanted {
                rings.send_modify(|n| *n = n.wrapping_add(1));
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(&path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        *watching = match started {
            Ok(watcher) => Watching::Yes { _watcher: watcher },
            Err(e) => {
                report(&path, &e);
                Watching::Failed
            }
        };
    }

    pub(crate) fn subscribe(&self) -> Listener {
        let failed = matches!(*self.shared.watcher.lock(), Watching::Failed);
        let poll = if failed { FALLBACK_POLL } else { SAFETY_POLL };
        Listener { rings: self.shared.rings.subscribe(), poll }
    }
}

fn report(path: &Path, error: &dyn std::fmt::Display) {
    tracing::warn!(
        target: "dapr.contrib",
        "Cannot watch {} ({error}): looking for what is new every {FALLBACK_POLL:?} instead",
        path.display()
    );
}

fn folder_of(database: &Path) -> PathBuf {
    match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether a changed file is the database or its write-ahead log.
fn belongs_to(path: &Path, database: &Path) -> bool {
    let (Some(changed), Some(name)) = (path.file_name(), database.file_name()) else { return false };
    let rest = changed.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest == b"-wal")
}
