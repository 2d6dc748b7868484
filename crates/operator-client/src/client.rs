//! The connection to the operator, and calls that are tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::Security;
use dapr_security::spiffe::{self, control_plane};
use dapr_transport::client::{ClientError, H2Channel, H2Options};
use dapr_transport::connect::Destination;
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::SCOPE;
use crate::kind::{Events, Kind};

/// For the first connection, all attempts together (control-plane.md §5), and
/// for one attempt.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// For one answer, and how often one is asked for (control-plane.md §5).
const CALL_LIMIT: Duration = Duration::from_secs(5);
const MAX_TRIES: u32 = 100;
/// Between two tries; grows, so that a restarting operator is waited for.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
const MAX_HEADERS: u32 = 64 * 1024;
/// Servers of gRPC end connections whose pings come more often than every five
/// minutes unless they were told otherwise, and the operator was not.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(330), Duration::from_secs(20));

/// Why the operator could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the identity of the operator is not valid: {0}")]
    Identity(#[from] spiffe::Error),
    #[error("failed to connect to the operator at {address} within {CONNECT_LIMIT:?}: {reason}")]
    Connect { address: String, reason: String },
    /// Its refusal.
    #[error("rpc error: code = {:?} desc = {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// It never saw the call, or its answer was lost.
    #[error("the connection to the operator failed: {0}")]
    Broken(String),
    #[error("the operator gave no answer within {CALL_LIMIT:?}")]
    Timeout,
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match broken(&status) {
            Some(reason) => Self::Broken(reason),
            None => Self::Refused(Box::new(status)),
        }
    }
}

impl Error {
    /// Whether another try may go better.
    fn is_passing(&self) -> bool {
        match self {
            Self::Timeout | Self::Broken(_) => true,
            Self::Refused(status) => {
                matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
            }
            Self::Identity(_) | Self::Connect { .. } => false,
        }
    }
}

/// What happened to the connection, if the status is not from the operator.
pub(crate) fn broken(status: &Status) -> Option<String> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<ClientError>() {
            return Some(error.to_string());
        }
        source = error.source();
    }
    None
}

/// How to reach the operator, and for whom.
#[derive(Clone)]
pub struct Options {
    /// `host:port`.
    pub address: String,
    /// Whose resources are asked for: our own namespace, or the operator
    /// refuses.
    pub namespace: String,
    pub security: Security,
    pub tasks: TaskGroup,
}

/// A client of the operator. Cloning shares the connection.
#[derive(Clone)]
pub struct OperatorClient(Arc<Inner>);

struct Inner {
    destination: Destination,
    tls: bool,
    namespace: String,
    tasks: TaskGroup,
    channel: RwLock<H2Channel>,
}

impl OperatorClient {
    /// Waits for the operator, but not for ever.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let Options { address, namespace, security, tasks } = options;
        let id = security.control_plane_id(control_plane::OPERATOR)?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let wrapper = security.client_of(id, host);
        let tls = wrapper.is_some();
        let mut destination = Destination::tcp(address.as_str(), DIAL_LIMIT);
        if let Some(wrapper) = wrapper {
            destination = destination.wrapped(wrapper);
        }
        let channel = RwLock::new(channel(&destination, tls, &tasks));
        let client = Self(Arc::new(Inner { destination, tls, namespace, tasks, channel }));
        client.first_connection().await.map_err(|reason| Error::Connect { address, reason })?;
        Ok(client)
    }

    async fn first_connection(&self) -> Result<(), String> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            let attempt = tokio::time::timeout_at(deadline, self.channel().connect()).await;
            let reason = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => return Err("no answer".to_owned()),
            };
            if Instant::now() + pause >= deadline {
                return Err(reason);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(target: SCOPE, "The operator cannot be reached yet: {reason}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    pub(crate) fn channel(&self) -> H2Channel {
        self.0.channel.read().clone()
    }

    /// Connects anew: a connection on which nothing comes back may be dead
    /// without knowing it.
    pub(crate) fn renew(&self) {
        *self.0.channel.write() = channel(&self.0.destination, self.0.tls, &self.0.tasks);
    }

    pub(crate) fn tasks(&self) -> &TaskGroup {
        &self.0.tasks
    }

    /// The objects of a kind as JSON. Tried again for long while the operator
    /// is away; a refusal is final.
    pub async fn list(&self, kind: &Kind) -> Result<Vec<Bytes>, Error> {
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let error = match self.list_once(kind).await {
                Ok(objects) => return Ok(objects),
                Err(error) => error,
            };
            if tried >= MAX_TRIES || !error.is_passing() {
                return Err(error);
            }
            if tried == 1 {
                tracing::warn!(target: SCOPE, "Asking the operator for {} again: {error}", kind.name());
            }
            tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            pause = pause.mul_f64(1.5).min(MAX_PAUSE);
        }
        unreachable!("the loop ends by returning")
    }

    /// One try.
    pub(crate) async fn list_once(&self, kind: &Kind) -> Result<Vec<Bytes>, Error> {
        let call = kind.list(self.channel(), &self.0.namespace);
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.renew();
                Err(Error::Timeout)
            }
        }
    }

    pub(crate) fn events(&self, kind: &Kind) -> Events {
        kind.events(self.channel(), &self.0.namespace)
    }
}

fn channel(destination: &Destination, tls: bool, tasks: &TaskGroup) -> H2Channel {
    let options = H2Options { keepalive: Some(KEEPALIVE), max_header_list: MAX_HEADERS };
    H2Channel::new(destination.clone(), tls, options, tasks.clone())
}
