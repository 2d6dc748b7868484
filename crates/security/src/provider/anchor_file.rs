//! Trust anchors in a file that may change (control-plane.md §4.1).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::SCOPE;
use crate::anchors::{AnchorSet, Error, TrustAnchors};

/// Between two looks at the file. Asking what it is finds replaced links
/// of mounted volumes too, and costs next to nothing.
const PERIOD: Duration = Duration::from_secs(1);

/// What changes when the file does.
type Stamp = (u64, u64, u64, i64, i64);

pub(super) struct AnchorFile {
    path: PathBuf,
    stamp: Option<Stamp>,
}

impl AnchorFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, stamp: None }
    }

    /// The first content; a file that does not exist yet is waited for.
    pub async fn first(&mut self) -> Result<AnchorSet, String> {
        loop {
            match self.read() {
                Ok(set) => return set.map_err(|e| self.unusable(&e)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    tracing::warn!(target: SCOPE, "Trust anchors file '{}' not found, waiting", self.path.display());
                    tokio::time::sleep(PERIOD).await;
                }
                Err(e) => return Err(self.unusable(&e)),
            }
        }
    }

    /// Follows the file for ever. Content that cannot be used is reported and
    /// what was read before stays in force.
    pub async fn follow(mut self, anchors: TrustAnchors, changed: watch::Sender<()>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let Ok(metadata) = fs::metadata(&self.path) else { continue };
            if self.stamp == Some(stamp(&metadata)) {
                continue;
            }
            match self.read() {
                Ok(Ok(set)) if set.pem() == anchors.current().pem() => {}
                Ok(Ok(set)) => {
                    anchors.replace(set);
                    tracing::info!(target: SCOPE, "Trust anchors file changed, new trust anchors are in force");
                    changed.send_replace(());
                }
                Ok(Err(error)) => tracing::error!(target: SCOPE, "{}", self.unusable(&error)),
                Err(error) => tracing::error!(target: SCOPE, "{}", self.unusable(&error)),
            }
        }
    }

    /// The stamp is of before the content: a change in between is seen next
    /// time.
    fn read(&mut self) -> io::Result<Result<AnchorSet, Error>> {
        self.stamp = Some(stamp(&fs::metadata(&self.path)?));
        Ok(AnchorSet::parse(&fs::read_to_string(&self.path)?))
    }

    fn unusable(&self, error: &dyn std::fmt::Display) -> String {
        format!("failed to read trust anchors file '{}': {error}", self.path.display())
    }
}

fn stamp(m: &Metadata) -> Stamp {
    (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec())
}
