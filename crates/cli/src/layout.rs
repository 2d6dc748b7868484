//! Where things are on disk (cli.md §2).

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::programs::SIDECAR;

/// Why the installation folder is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("$HOME is not defined: set it, or name a folder with --runtime-path or DAPR_RUNTIME_PATH")]
    NoHome,
}

/// The folder `.dapr` and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// `base` is the folder that holds `.dapr`.
    pub fn new(base: impl AsRef<Path>) -> Self {
        Self { root: base.as_ref().join(".dapr") }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The installed sidecar.
    pub fn daprd(&self) -> PathBuf {
        self.bin().join(SIDECAR)
    }

    pub fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// SQLite files of the default components.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What `run` keeps for itself when nothing is installed.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }
}

/// Makes `link` lead to `target`, replacing what it was in one step, so that
/// commands that run at the same time never see it missing.
pub(crate) fn link_to(link: &Path, target: &Path) -> io::Result<()> {
    let target = target.canonicalize()?;
    if link.read_link().is_ok_and(|now| now == target) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let fresh = link.with_file_name(format!(".{name}-{}", std::process::id()));
    symlink(&target, &fresh)?;
    std::fs::rename(&fresh, link).inspect_err(|_| {
        let _ = std::fs::remove_file(&fresh);
    })
}

/// `stat PATH: no such file or directory`, as Go prints it: scripts match on it.
pub(crate) fn stat_error(path: &Path, error: &io::Error) -> String {
    format!("stat {}: {}", path.display(), errno_text(error))
}

/// The system's words for an error, without the number.
pub(crate) fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => {
            let text = nix::errno::Errno::from_raw(code).desc();
            let mut letters = text.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "2").unwrap();
        let link = folder.path().join("run/daprd");
        for target in [&one, &one, &two] {
            link_to(&link, target).unwrap();
            assert_eq!(link.canonicalize().unwrap(), target.canonicalize().unwrap());
        }
        assert_eq!(std::fs::read_dir(folder.path().join("run")).unwrap().count(), 1);
    }

    #[test]
    fn errors_read_like_the_systems() {
        let path = Path::new("/no/such/place");
        let error = path.metadata().unwrap_err();
        assert_eq!(stat_error(path, &error), "stat /no/such/place: no such file or directory");
    }
}
