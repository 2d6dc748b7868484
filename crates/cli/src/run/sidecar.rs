//! Which sidecar program runs, and what it can do.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::commands::output_of;
use crate::context::Context;
use crate::layout::{Layout, link_to};
use crate::programs::SIDECAR;

/// The sidecar in this executable.
pub(crate) const RUNTIME_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The program to start as a sidecar.
#[derive(Debug)]
pub(super) struct Program {
    pub path: PathBuf,
    pub version: Version,
    /// Removed with this value.
    scratch: Option<PathBuf>,
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(folder) = &self.scratch {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The installed sidecar; where nothing is installed, this executable under a
/// link of the right name, for the name is how others find the process.
pub(super) fn locate(context: &Context, layout: &Layout) -> Program {
    let installed = layout.daprd();
    let own = context.executable().filter(|_| context.has_sidecar());
    let (path, scratch) = match own {
        Some(own) if !installed.exists() => {
            let link = layout.run().join(SIDECAR);
            match link_to(&link, own) {
                Ok(()) => (link, None),
                Err(_) => match scratch_link(own) {
                    Ok((link, folder)) => (link, Some(folder)),
                    // Starting it reports what is wrong.
                    Err(_) => (installed, None),
                },
            }
        }
        _ => (installed, None),
    };
    let is_own = own.is_some_and(|own| path.canonicalize().ok() == own.canonicalize().ok());
    let version = match is_own {
        true => Version::parse(RUNTIME_VERSION),
        false => Version::parse(output_of(&path, "--version").unwrap_or_default().trim()),
    };
    Program { path, version, scratch }
}

/// A link in a folder of its own, when the installation folder is read-only.
fn scratch_link(own: &std::path::Path) -> io::Result<(PathBuf, PathBuf)> {
    let name = format!("dapr-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let folder = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    let link = folder.join(SIDECAR);
    link_to(&link, own)?;
    Ok((link, folder))
}

/// A runtime version, as far as `run` depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Edge,
    /// Major, minor, patch and release candidate; a release is the highest.
    Known((u64, u64, u64, u64)),
    Unknown,
}

impl Version {
    fn parse(text: &str) -> Self {
        let numbers = || {
            let (release, candidate) = match text.split_once('-') {
                Some((release, pre)) => (release, pre.strip_prefix("rc.")?.parse().ok()?),
                None => (text, u64::MAX),
            };
            let mut parts = release.split('.').map(|part| part.parse::<u64>().ok());
            let version = (parts.next()??, parts.next()??, parts.next()??, candidate);
            parts.next().is_none().then_some(version)
        };
        match text {
            "edge" => Self::Edge,
            _ => numbers().map_or(Self::Unknown, Self::Known),
        }
    }

    /// From 1.14.0-rc.1 on.
    pub fn knows_scheduler(self) -> bool {
        match self {
            Self::Edge => true,
            Self::Known(version) => version >= (1, 14, 0, 1),
            Self::Unknown => false,
        }
    }

    /// Past 1.15.0-rc.0 a scheduler is used even when none is named.
    pub fn wants_scheduler(self) -> bool {
        matches!(self, Self::Known(version) if version > (1, 15, 0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_like_releases() {
        for (text, knows, wants) in [
            ("1.18.3", true, true),
            ("1.14.0-rc.1", true, false),
            ("1.14.0-rc.0", false, false),
            ("1.13.9", false, false),
            ("1.15.0-rc.1", true, true),
            ("edge", true, false),
            ("n/a", false, false),
            ("", false, false),
        ] {
            let version = Version::parse(text);
            assert_eq!((version.knows_scheduler(), version.wants_scheduler()), (knows, wants), "{text}");
        }
    }
}
