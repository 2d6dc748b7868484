//! Keeps a cache of one kind current by list and watch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dapr_transport::Body;
use http::StatusCode;
use http_body_util::BodyExt as _;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::client::{ApiError, BODY_LIMIT, Client};
use crate::core::{Cache, Change, Event, Next, Object, Pace};

/// Objects of one answer to a list.
const PAGE: usize = 500;
/// How long the server is asked to let a watch last.
const WATCH_SECONDS: u64 = 290;
/// Silence after which a watch counts as lost.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// The cache as readers see it. Cloning shares it.
pub struct Store<T>(Arc<RwLock<Cache<T>>>);

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(..)")
    }
}

impl<T: Object> Store<T> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.0.read().get(namespace, name)
    }

    pub fn all(&self) -> Vec<Arc<T>> {
        self.0.read().all().cloned().collect()
    }
}

/// One list and one watch of a kind in the whole cluster. There must be one per
/// process and kind: servers may deliver an event to a single watch.
pub struct Reflector<T> {
    client: Client,
    path: String,
    store: Store<T>,
    synced: watch::Sender<bool>,
    on_change: Box<dyn Fn(&Change<T>) + Send + Sync>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Object")]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<T: Object> Reflector<T> {
    /// `path` is that of the kind, such as `/api/v1/pods`.
    pub fn new(client: Client, path: impl Into<String>) -> Self {
        let store = Store(Arc::new(RwLock::new(Cache::default())));
        Self {
            client,
            path: path.into(),
            store,
            synced: watch::channel(false).0,
            on_change: Box::new(|_| {}),
        }
    }

    /// Calls `seen` for every change, in order, while the cache is locked by
    /// nobody.
    #[must_use]
    pub fn on_change(mut self, seen: impl Fn(&Change<T>) + Send + Sync + 'static) -> Self {
        self.on_change = Box::new(seen);
        self
    }

    pub fn store(&self) -> Store<T> {
        self.store.clone()
    }

    /// Becomes true with the first complete list, and stays so.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut pace = Pace::default();
        let mut next = Next::List(Duration::ZERO);
        let mut version = String::new();
        loop {
            next = match next {
                Next::List(pause) => {
                    tokio::time::sleep(pause).await;
                    match self.list().await {
                        Ok(listed) => {
                            version = listed;
                            Next::Watch
                        }
                        Err(error) => {
                            tracing::warn!(target: "dapr.kubernetes", "Failed to list {}: {error}", self.path);
                            pace.failed(fastrand::f64())
                        }
                    }
                }
                Next::Watch => {
                    let begun = Instant::now();
                    match self.watch(&mut version).await {
                        Ok(events) => pace.watch_ended(begun.elapsed(), events, fastrand::f64()),
                        Err(error) if error.is_gone() => pace.expired(),
                        Err(error) => {
                            tracing::warn!(target: "dapr.kubernetes", "Watch of {} ended: {error}", self.path);
                            pace.failed(fastrand::f64())
                        }
                    }
                }
            };
        }
    }

    async fn list(&self) -> Result<String, ApiError> {
        let mut items = Vec::new();
        let mut page = format!("{}?limit={PAGE}", self.path);
        let version = loop {
            let list: List<T> = self.client.get(&page).await?;
            items.extend(list.items.unwrap_or_default());
            if list.metadata.next.is_empty() {
                break list.metadata.resource_version;
            }
            let next: String = url::form_urlencoded::byte_serialize(list.metadata.next.as_bytes()).collect();
            page = format!("{}?limit={PAGE}&continue={next}", self.path);
        };
        let changes = self.store.0.write().replace(items);
        changes.iter().for_each(&self.on_change);
        self.synced.send_replace(true);
        Ok(version)
    }

    /// Watches until the server ends it; the number of events.
    async fn watch(&self, version: &mut String) -> Result<usize, ApiError> {
        let mut path =
            format!("{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}", self.path);
        if !version.is_empty() {
            path.push_str("&resourceVersion=");
            path.push_str(version);
        }
        let mut body = self.client.open(&path).await?;
        let (mut buffer, mut events) = (BytesMut::new(), 0);
        while let Some(data) = next_data(&mut body, &self.path).await? {
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                events += usize::from(self.take(&buffer.split_to(end + 1), version)?);
            }
            if buffer.len() > BODY_LIMIT {
                return Err(self.unreadable(&"an event is too large"));
            }
        }
        // The last event may lack its line break.
        Ok(events + usize::from(self.take(&buffer, version)?))
    }

    /// Applies one line; false for an empty one.
    fn take(&self, line: &[u8], version: &mut String) -> Result<bool, ApiError> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(false);
        }
        let envelope: Envelope<'_> = serde_json::from_slice(line).map_err(|e| self.unreadable(&e))?;
        let event = match envelope.kind {
            "ADDED" | "MODIFIED" => Event::Set(self.object(envelope.object)?),
            "DELETED" => Event::Deleted(self.object(envelope.object)?),
            "BOOKMARK" => Event::Bookmark(self.bookmark(envelope.object)?),
            "ERROR" => return Err(self.refusal(envelope.object)),
            _ => return Ok(true),
        };
        let at = match &event {
            Event::Set(object) | Event::Deleted(object) => object.resource_version(),
            Event::Bookmark(at) => at,
        };
        if !at.is_empty() {
            at.clone_into(version);
        }
        let change = self.store.0.write().apply(event);
        change.iter().for_each(&self.on_change);
        Ok(true)
    }

    fn object(&self, raw: &RawValue) -> Result<T, ApiError> {
        serde_json::from_str(raw.get()).map_err(|e| self.unreadable(&e))
    }

    fn bookmark(&self, raw: &RawValue) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        struct Bookmark {
            metadata: ListMeta,
        }
        let mark: Bookmark = serde_json::from_str(raw.get()).map_err(|e| self.unreadable(&e))?;
        Ok(mark.metadata.resource_version)
    }

    fn refusal(&self, raw: &RawValue) -> ApiError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            code: u16,
            message: String,
        }
        let status: Status = serde_json::from_str(raw.get()).unwrap_or_default();
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ApiError::Status { code, message: status.message }
    }

    fn unreadable(&self, problem: &dyn std::fmt::Display) -> ApiError {
        ApiError::Answer { path: self.path.clone(), problem: problem.to_string() }
    }
}

async fn next_data(body: &mut Body, path: &str) -> Result<Option<bytes::Bytes>, ApiError> {
    loop {
        let Ok(frame) = tokio::time::timeout(SILENCE, body.frame()).await else {
            return Err(ApiError::Timeout(path.to_owned()));
        };
        match frame {
            None => return Ok(None),
            Some(Err(e)) => return Err(ApiError::Connect(e.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
