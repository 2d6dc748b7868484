//! Keys of a JSON Web Key Set: given in place, as a file or as a URL.

mod fetch;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dapr_components::{InitError, Properties};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::keys::{Key, KeySet};
use parking_lot::Mutex;

use crate::provider::KeySource;
use fetch::Fetcher;

const SCOPE: &str = "dapr.runtime";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
const DEFAULT_REFRESH: Duration = Duration::from_secs(600);
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// A set that is kept up to date.
pub struct Jwks {
    keys: Arc<ArcSwap<KeySet>>,
    /// The file it came from, looked at before each use.
    file: Option<File>,
    /// Ends the refreshing of one that came from a URL.
    stop: Shutdown,
}

struct File {
    path: PathBuf,
    /// What the file was when it was read last.
    seen: Mutex<Stamp>,
}

type Stamp = Option<(SystemTime, u64)>;

impl Jwks {
    /// Loads the set; fails when that cannot be done now.
    pub async fn open(properties: &Properties, tasks: &TaskGroup) -> Result<Self, InitError> {
        let location = properties.get("jwks").unwrap_or_default();
        if location.is_empty() {
            return Err(InitError::new("failed to load metadata: metadata property 'jwks' is required"));
        }
        let setting = |name: &str, shortest: Duration, default: Duration| {
            let given = properties.duration(name);
            let given = given.map_err(|e| InitError::new(format!("failed to load metadata: {e}")))?;
            Ok::<_, InitError>(given.filter(|d| *d >= shortest).unwrap_or(default))
        };
        let timeout = setting("requestTimeout", SHORTEST_TIMEOUT, DEFAULT_TIMEOUT)?;
        let refresh = setting("minRefreshInterval", SHORTEST_REFRESH, DEFAULT_REFRESH)?;
        let failed = |reason: String| InitError::new(format!("failed to init cache: {reason}"));
        if location.starts_with("https://") || location.starts_with("http://") {
            return Self::from_url(location, timeout, refresh, tasks).await.map_err(failed);
        }
        if tokio::fs::metadata(location).await.is_ok_and(|found| found.is_file()) {
            return Self::from_file(location.into()).await.map_err(failed);
        }
        Self::from_text(location).map_err(failed)
    }

    fn of(keys: KeySet) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), file: None, stop: Shutdown::new() }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let decoded = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
        let json = decoded.unwrap_or_else(|_| text.as_bytes().to_vec());
        KeySet::parse(&json).map(Self::of).map_err(|_| {
            "failed to parse property 'location': not a URL, path to local file, or JSON value (optionally base64-encoded)"
                .to_owned()
        })
    }

    async fn from_file(path: PathBuf) -> Result<Self, String> {
        let stamp = stamp(&path).await;
        let keys = read(&path).await?;
        Ok(Self { file: Some(File { path, seen: Mutex::new(stamp) }), ..Self::of(keys) })
    }

    async fn from_url(
        url: &str,
        timeout: Duration,
        refresh: Duration,
        tasks: &TaskGroup,
    ) -> Result<Self, String> {
        if url.starts_with("http://") {
            tracing::warn!(
                target: SCOPE,
                "Loading JWK from an HTTP endpoint without TLS: this is not recommended on production environments."
            );
        }
        let fetcher = Fetcher::new(url, timeout)?;
        let this = Self {
            stop: tasks.shutdown().child(),
            ..Self::of(fetcher.fetch().await.map_err(|e| format!("failed to fetch JWKS: {e}"))?)
        };
        let (keys, stop) = (this.keys.clone(), this.stop.clone());
        tasks.spawn("JWKS refresh", async move {
            while stop.guard(tokio::time::sleep(refresh)).await.is_some() {
                match stop.guard(fetcher.fetch()).await {
                    Some(Ok(fresh)) => keys.store(Arc::new(fresh)),
                    Some(Err(error)) => {
                        tracing::warn!(target: SCOPE, "Error while refreshing JWKS cache: {error}");
                    }
                    None => return,
                }
            }
        });
        Ok(this)
    }

    /// Reads the file again if it was changed; a broken one leaves the keys as
    /// they are.
    async fn refresh(&self, file: &File) {
        let now = stamp(&file.path).await;
        if std::mem::replace(&mut *file.seen.lock(), now) == now {
            return;
        }
        match read(&file.path).await {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => tracing::error!(target: SCOPE, "Error reading JWKS from disk: {error}"),
        }
    }
}

async fn stamp(path: &std::path::Path) -> Stamp {
    let found = tokio::fs::metadata(path).await.ok()?;
    Some((found.modified().ok()?, found.len()))
}

async fn read(path: &std::path::Path) -> Result<KeySet, String> {
    let text = tokio::fs::read(path).await.map_err(|e| format!("failed to read JWKS file: {e}"))?;
    KeySet::parse(&text).map_err(|e| format!("failed to parse JWKS file: {e}"))
}

#[async_trait]
impl KeySource for Jwks {
    async fn key(&self, name: &str) -> Result<Key, String> {
        if let Some(file) = &self.file {
            self.refresh(file).await;
        }
        self.keys.load().get(name).cloned().ok_or_else(|| "key not found".to_owned())
    }

    fn close(&self) {
        self.stop.trigger();
    }
}
