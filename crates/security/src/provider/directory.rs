//! The identity as files, for programs that take it only so
//! (control-plane.md §4.3).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::identity::Identity;
use crate::rotation::Time;

/// A path that is a link to the newest of several folders beside it: whoever
/// follows it sees one identity, never half of two.
#[derive(Debug)]
pub(super) struct IdentityDirectory {
    link: PathBuf,
    previous: Option<PathBuf>,
}

impl IdentityDirectory {
    pub fn new(link: PathBuf) -> Self {
        Self { link, previous: None }
    }

    /// Writes a new version and switches to it; the version before the one
    /// that was current goes.
    pub fn write(&mut self, identity: &Identity, anchors_pem: &str, now: Time) -> io::Result<()> {
        let folder = beside(&self.link, &format!("-{}", now.0));
        DirBuilder::new().mode(0o700).recursive(true).create(&folder)?;
        write_private(&folder.join("key.pem"), identity.key_pem())?;
        write_private(&folder.join("cert.pem"), identity.chain_pem())?;
        write_private(&folder.join("ca.pem"), anchors_pem)?;
        if let Some(token) = identity.token() {
            write_private(&folder.join("jwt_svid.token"), token.as_str())?;
        }
        let next = beside(&self.link, ".next");
        match fs::remove_file(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let current = fs::read_link(&self.link).ok();
        symlink(&folder, &next)?;
        fs::rename(&next, &self.link)?;
        if let Some(old) = self.previous.take().filter(|old| *old != folder) {
            fs::remove_dir_all(old)?;
        }
        self.previous = current.filter(|c| *c != folder);
        Ok(())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
