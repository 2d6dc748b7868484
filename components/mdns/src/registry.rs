//! The local registry: one small file per running instance, for machines where
//! multicast is blocked or there is no network (a VPN, a locked-down laptop).
//!
//! `<root>/net-<network namespace>/<app id>/<pid>-<port>` holds `host:port`.
//! Its owner keeps the file locked while it runs, so that whatever became of a
//! process, a file that can be locked is left over and gets removed; a process
//! id alone might have been given to somebody else since. The folder belongs to
//! one user and is closed to others.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Instances of one application that are read.
const MAX_ENTRIES: usize = 256;
/// Longest text of an address: `[v6%scope]:port`.
const MAX_TEXT: u64 = 128;
/// Longest encoded app id that file systems take as a name.
const MAX_NAME: usize = 255;

const SYSTEM_UID: u32 = 0;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

#[derive(Clone, Debug)]
pub(crate) struct LocalRegistry {
    folder: PathBuf,
}

/// The entry of this instance; removed when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    path: PathBuf,
    /// Holds the lock that proves life.
    _lock: File,
}

impl LocalRegistry {
    /// `root` is shared by all sidecars of a user; it is created on the first
    /// registration.
    pub fn new(root: &Path) -> Self {
        // Addresses mean nothing in another network namespace.
        let namespace = fs::read_link("/proc/self/ns/net").ok();
        let namespace = namespace.as_deref().and_then(Path::to_str).unwrap_or_default();
        let id: String = namespace.chars().filter(char::is_ascii_digit).collect();
        Self { folder: root.join(format!("net-{}", if id.is_empty() { "0" } else { &id })) }
    }

    /// The per-user runtime folder of this system.
    pub fn default_root() -> PathBuf {
        let uid = nix::unistd::geteuid();
        let runtime = PathBuf::from(format!("/run/user/{uid}"));
        if is_private(&runtime).is_ok() {
            return runtime.join("dapr").join("registry");
        }
        std::env::temp_dir().join(format!("dapr-{uid}")).join("registry")
    }

    /// Publishes `address` for as long as the result lives.
    pub fn register(&self, app_id: &str, pid: u32, address: SocketAddr) -> io::Result<Registration> {
        let folder = self.app_folder(app_id)?;
        let name = format!("{pid}-{}", address.port());
        let (path, draft) = (folder.join(&name), folder.join(format!(".{name}")));
        // The folder may vanish in between: the last instance removes it.
        let mut file = match create_private(&folder).and_then(|()| File::create(&draft)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_private(&folder)?;
                File::create(&draft)?
            }
            other => other?,
        };
        file.try_lock().map_err(io::Error::from)?;
        writeln!(file, "{address}")?;
        fs::rename(&draft, &path)?;
        Ok(Registration { path, _lock: file })
    }

    /// Addresses of live instances. A folder that others may write to counts
    /// as empty.
    pub fn find(&self, app_id: &str) -> Vec<SocketAddr> {
        let Ok(folder) = self.app_folder(app_id) else { return Vec::new() };
        if is_private(&folder).is_err() {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        let names = entries.flatten().filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
        names.take(MAX_ENTRIES).filter_map(|entry| read_live(&entry.path())).collect()
    }

    fn app_folder(&self, app_id: &str) -> io::Result<PathBuf> {
        let name = file_name(app_id);
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the app id cannot be a folder name"));
        }
        Ok(self.folder.join(name))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            // Works only for the last instance.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn read_live(path: &Path) -> Option<SocketAddr> {
    let file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.take(MAX_TEXT).read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        }
        Ok(()) => {
            let _ = fs::remove_file(path);
            None
        }
        Err(TryLockError::Error(_)) => None,
    }
}

fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    is_private(folder)
}

/// A folder of this user in which nobody else can plant, rename or replace
/// anything: every folder above belongs to this user or the system and is not
/// writable by others, unless sticky such as a shared temp folder.
fn is_private(folder: &Path) -> io::Result<()> {
    let me = nix::unistd::geteuid().as_raw();
    let folder = fs::canonicalize(folder)?;
    for (depth, part) in folder.ancestors().enumerate() {
        let found = fs::metadata(part)?;
        let owned = found.uid() == me || (depth > 0 && found.uid() == SYSTEM_UID);
        let closed = found.mode() & OTHERS_WRITE == 0 || (depth > 0 && found.mode() & STICKY != 0);
        if !found.is_dir() || !owned || !closed {
            let reason =
                format!("{} must be a folder of this user that others cannot write to", part.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
    }
    Ok(())
}

/// App ids are free text: whatever could mean something to a file system is
/// percent-encoded, a leading dot included.
fn file_name(app_id: &str) -> String {
    let mut name = String::with_capacity(app_id.len());
    for (i, byte) in app_id.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if i > 0 => name.push('.'),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn an_instance_is_found_while_it_is_registered() {
        let root = tempfile::tempdir().unwrap();
        let registry = LocalRegistry::new(root.path());
        let one = registry.register("app", 1, address(1000)).unwrap();
        let two = registry.register("app", 1, address(2000)).unwrap();
        let mut found = registry.find("app");
        found.sort();
        assert_eq!(found, [address(1000), address(2000)]);
        assert_eq!(registry.find("other"), []);
        drop(one);
        assert_eq!(registry.find("app"), [address(2000)]);
        drop(two);
        assert_eq!(registry.find("app"), []);
        assert!(!registry.app_folder("app").unwrap().exists(), "the last one clears up");
    }

    #[test]
    fn what_a_dead_process_left_is_ignored_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let registry = LocalRegistry::new(root.path());
        drop(registry.register("app", 1, address(1000)).unwrap());
        let folder = registry.app_folder("app").unwrap();
        create_private(&folder).unwrap();
        fs::write(folder.join("1-1000"), "127.0.0.1:1000\n").unwrap();
        assert_eq!(registry.find("app"), []);
        assert!(!folder.join("1-1000").exists());
    }

    #[test]
    fn a_folder_open_to_others_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let registry = LocalRegistry::new(root.path());
        let _one = registry.register("app", 1, address(1000)).unwrap();
        let folder = registry.app_folder("app").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(registry.find("app"), []);
        assert!(registry.register("app", 2, address(2000)).is_err());
    }

    #[test]
    fn garbage_in_an_entry_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        let registry = LocalRegistry::new(root.path());
        let _one = registry.register("app", 1, address(1000)).unwrap();
        let path = registry.app_folder("app").unwrap().join("2-2");
        let mut bad = File::create(&path).unwrap();
        bad.try_lock().unwrap();
        bad.write_all(&[0xff; 4000]).unwrap();
        assert_eq!(registry.find("app"), [address(1000)]);
    }

    #[test]
    fn no_app_id_leaves_the_folder() {
        assert_eq!(file_name("my-app_1.prod"), "my-app_1.prod");
        assert_eq!(file_name("../../etc"), "%2E.%2F..%2Fetc");
        assert_eq!(file_name(".."), "%2E.");
        assert_eq!(file_name("a b"), "a%20b");
        assert!(LocalRegistry::new(Path::new("/x")).app_folder("").is_err());
        assert!(LocalRegistry::new(Path::new("/x")).app_folder(&"/".repeat(100)).is_err());
    }
}
