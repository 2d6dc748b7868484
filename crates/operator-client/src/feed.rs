//! A set of objects that is kept current: the shell around [`crate::core`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::SCOPE;
use crate::client::{Error, OperatorClient, broken};
use crate::core::{Action, Collection, End, Entry, EventKind, Follow, Input};
use crate::kind::{Events, Kind};

/// A stream that is not refused within this time counts as open: the operator
/// is silent until the first event.
const SETTLING: Duration = Duration::from_millis(100);

/// Reads one object. The error names the object if that much can be read.
pub type Decode<T> = fn(&[u8]) -> Result<Entry<T>, Undecodable>;

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    pub name: Option<String>,
    pub reason: String,
}

/// Rings when any of several feeds has news. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Bell(Arc<watch::Sender<u64>>);

impl Default for Bell {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Bell {
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn ring(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// How a kind is followed.
pub struct FeedOptions<T> {
    pub kind: Kind,
    pub decode: Decode<T>,
    /// Between two lists that make good whatever went wrong.
    pub interval: Duration,
    pub bell: Bell,
}

/// The objects of one kind as they are now. Cloning shares them.
pub struct Feed<T>(Arc<Shared<T>>);

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<T> {
    collection: Mutex<Collection<T>>,
    opened: watch::Sender<bool>,
}

impl<T: Clone + PartialEq + Send + 'static> Feed<T> {
    /// Follows a kind until the client's tasks end.
    pub fn start(client: &OperatorClient, options: FeedOptions<T>) -> Self {
        let shared = Arc::new(Shared { collection: Mutex::default(), opened: watch::Sender::new(false) });
        let follower = Follower { client: client.clone(), options, shared: shared.clone() };
        client.tasks().spawn_until_shutdown("operator feed", follower.run());
        Self(shared)
    }

    /// `None` until the operator has listed them.
    pub fn current(&self) -> Option<Vec<T>> {
        self.0.collection.lock().current()
    }

    /// Returns once events are on their way here.
    pub async fn opened(&self) {
        let mut opened = self.0.opened.subscribe();
        // The sender is in `self`.
        let _ = opened.wait_for(|opened| *opened).await;
    }
}

struct Follower<T> {
    client: OperatorClient,
    options: FeedOptions<T>,
    shared: Arc<Shared<T>>,
}

impl<T: Clone + PartialEq + Send + 'static> Follower<T> {
    async fn run(self) {
        let mut follow = Follow::new(self.options.interval, Instant::now());
        let mut input = Input::Go;
        let mut events: Option<Events> = None;
        loop {
            let action = follow.step(Instant::now(), input, fastrand::f64());
            input = match action {
                Action::Pause(pause) => {
                    events = None;
                    tokio::time::sleep(pause).await;
                    Input::Go
                }
                Action::Open => self.open(&mut events).await,
                Action::List => {
                    if input == Input::Opened && follow.is_reconnected() {
                        tracing::info!(target: SCOPE, "Reconnected to operator");
                    }
                    self.list().await
                }
                Action::Read { until } => self.read(&mut events, until).await,
            };
            if input == Input::Ended(End::Unknown) {
                events = None;
                let kind = self.options.kind.name();
                tracing::warn!(
                    target: SCOPE,
                    "{kind} HotReloading is not supported by the Dapr control plane. {kind} updates are looked for now and then."
                );
            }
            if input == Input::Opened || follow.is_without_stream() {
                self.shared.opened.send_replace(true);
            }
        }
    }

    async fn open(&self, events: &mut Option<Events>) -> Input {
        *events = None;
        if let Err(error) = self.client.channel().connect().await {
            tracing::debug!(target: SCOPE, "Failed to establish stream: {error}");
            return Input::Ended(End::Lost);
        }
        let mut stream = self.client.events(&self.options.kind).peekable();
        let early = tokio::time::timeout(SETTLING, std::pin::Pin::new(&mut stream).peek()).await;
        match early {
            Ok(None) => Input::Ended(End::Lost),
            Ok(Some(Err(status))) => self.ended(status),
            Ok(Some(Ok(_))) | Err(_) => {
                *events = Some(stream.boxed());
                Input::Opened
            }
        }
    }

    async fn list(&self) -> Input {
        let kind = &self.options.kind;
        let objects = match self.client.list_once(kind).await {
            Ok(objects) => objects,
            Err(error @ Error::Timeout) => {
                tracing::error!(target: SCOPE, "Error listing {}: {error}", kind.name());
                // Events do not come through either, then.
                return Input::Ended(End::Lost);
            }
            Err(error) => {
                tracing::error!(target: SCOPE, "Error listing {}: {error}", kind.name());
                return Input::ListFailed;
            }
        };
        let mut entries = Vec::with_capacity(objects.len());
        let mut unreadable = Vec::new();
        for bytes in &objects {
            match (self.options.decode)(bytes) {
                Ok(entry) => entries.push(entry),
                Err(problem) => {
                    self.complain(&problem);
                    unreadable.extend(problem.name);
                }
            }
        }
        // Nothing is forgotten because nobody listed it.
        let nothing_to_list = matches!(kind, Kind::Configuration(None));
        let news = match nothing_to_list {
            true => self.shared.collection.lock().begin(),
            false => self.shared.collection.lock().replace(entries, &unreadable),
        };
        if news {
            self.options.bell.ring();
        }
        Input::Listed
    }

    async fn read(&self, events: &mut Option<Events>, until: Instant) -> Input {
        let next = async {
            match events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        let next = match tokio::time::timeout_at(until.into(), next).await {
            Err(_) => return Input::Due,
            Ok(next) => next,
        };
        match next {
            Some(Ok((kind, bytes))) => {
                self.take(kind, &bytes);
                Input::Received
            }
            Some(Err(status)) => self.ended(&status),
            None => {
                tracing::debug!(target: SCOPE, "The operator ended the {} stream", self.options.kind.name());
                Input::Ended(End::Lost)
            }
        }
    }

    fn take(&self, kind: Option<EventKind>, bytes: &Bytes) {
        let Some(kind) = kind else {
            tracing::warn!(target: SCOPE, "An event of an unknown type about a {}", self.options.kind.name());
            return;
        };
        match (self.options.decode)(bytes) {
            Err(problem) => self.complain(&problem),
            Ok(entry) => {
                tracing::debug!(
                    target: SCOPE,
                    "Received {} event {kind:?}: {}",
                    self.options.kind.name(),
                    entry.name
                );
                if self.shared.collection.lock().apply(kind, entry) {
                    self.options.bell.ring();
                }
            }
        }
    }

    fn ended(&self, status: &Status) -> Input {
        if status.code() == Code::Unimplemented {
            return Input::Ended(End::Unknown);
        }
        let kind = self.options.kind.name();
        let reason = broken(status).unwrap_or_else(|| format!("{:?}: {}", status.code(), status.message()));
        tracing::warn!(target: SCOPE, "Error from operator stream of {kind}: {reason}");
        Input::Ended(End::Lost)
    }

    fn complain(&self, problem: &Undecodable) {
        let kind = self.options.kind.name();
        let name = problem.name.as_deref().unwrap_or("without a name");
        tracing::error!(
            target: SCOPE,
            "{kind} {name} from the operator cannot be read and stays as it was: {}",
            problem.reason
        );
    }
}
