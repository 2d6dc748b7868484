//! Calls of etcd's API over whichever of the servers answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dapr_components::InitError;
use dapr_errors::{Code, grpc_nested};
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::client::{ClientError, H2Channel, H2Options};
use tonic::{Response, Status};

use crate::api::kv_client::KvClient;
use crate::api::lease_client::LeaseClient;
use crate::api::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse,
};
use crate::endpoint::{Endpoint, security};
use crate::settings::Settings;

/// For one operation, the search for a server that answers included.
const LIMIT: Duration = Duration::from_secs(5);
/// After all servers refused; doubles up to the second value.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(400));
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// A call that brought nothing, in the words that callers know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

/// The cluster. Connections are made when they are needed.
pub(crate) struct Client {
    servers: Vec<H2Channel>,
    /// The server that answered last.
    current: AtomicUsize,
}

/// Whether a call that broke may be made again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Always,
    /// Only when it was never sent: it might have had its effect.
    Unsent,
}

impl Client {
    pub(crate) fn new(settings: &Settings, tasks: &TaskGroup) -> Result<Self, InitError> {
        let tls = security(&settings.endpoints[0], settings.tls.clone())
            .map_err(|e| InitError::new(format!("initializing etcd client: {e}")))?;
        let servers = settings.endpoints.iter().map(|text| {
            let endpoint = Endpoint::new(text, tls.as_ref());
            let options = H2Options::app(MAX_HEADER_LIST);
            H2Channel::new(endpoint.destination, endpoint.secure, options, tasks.clone())
        });
        Ok(Self { servers: servers.collect(), current: AtomicUsize::new(0) })
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        let call = |channel| {
            let request = request.clone();
            async move { kv(channel).range(request).await }
        };
        self.call(Repeat::Always, call).await
    }

    pub(crate) async fn put(&self, request: PutRequest) -> Result<(), Failure> {
        let call = |channel| {
            let request = request.clone();
            async move { kv(channel).put(request).await }
        };
        self.call(Repeat::Unsent, call).await.map(drop)
    }

    pub(crate) async fn delete(&self, request: DeleteRangeRequest) -> Result<(), Failure> {
        let call = |channel| {
            let request = request.clone();
            async move { kv(channel).delete_range(request).await }
        };
        self.call(Repeat::Unsent, call).await.map(drop)
    }

    pub(crate) async fn transact(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        let call = |channel| {
            let request = request.clone();
            async move { kv(channel).txn(request).await }
        };
        self.call(Repeat::Unsent, call).await
    }

    /// The id of a lease of `ttl` seconds.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<i64, Failure> {
        let call =
            |channel| async move { LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl }).await };
        self.call(Repeat::Unsent, call).await.map(|granted| granted.id)
    }

    pub(crate) async fn revoke(&self, id: i64) -> Result<(), Failure> {
        let call =
            |channel| async move { LeaseClient::new(channel).lease_revoke(LeaseRevokeRequest { id }).await };
        self.call(Repeat::Always, call).await.map(drop)
    }

    async fn call<R, F>(&self, repeat: Repeat, send: impl Fn(H2Channel) -> F) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let answer = tokio::time::timeout(LIMIT, Box::pin(self.until_answered(repeat, send))).await;
        answer.unwrap_or_else(|_| Err(Failure("context deadline exceeded".to_owned())))
    }

    async fn until_answered<R, F>(&self, repeat: Repeat, send: impl Fn(H2Channel) -> F) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let (mut pause, longest) = PAUSES;
        loop {
            for _ in 0..self.servers.len() {
                let current = self.current.load(Ordering::Relaxed);
                if self.connect(&self.servers[current]).await {
                    match send(self.servers[current].clone()).await {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) if repeat == Repeat::Always && is_unavailable(&status) => {}
                        Err(status) => return Err(failure(&status)),
                    }
                }
                // Unless another call has moved on already.
                let next = (current + 1) % self.servers.len();
                let _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Whether there is a connection. A server that does not react must leave
    /// time to ask the others.
    async fn connect(&self, channel: &H2Channel) -> bool {
        let share = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        match tokio::time::timeout(LIMIT / share, channel.connect()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(target: "dapr.contrib", "etcd at {}: {error}", channel.authority());
                false
            }
            Err(_) => false,
        }
    }
}

fn kv(channel: H2Channel) -> KvClient<H2Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A connection that broke counts, too.
fn is_unavailable(status: &Status) -> bool {
    status.code() == tonic::Code::Unavailable || broke(status)
}

fn broke(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|source| source.is::<ClientError>())
}

/// The server's own errors speak for themselves.
fn failure(status: &Status) -> Failure {
    if status.message().starts_with("etcdserver: ") {
        return Failure(status.message().to_owned());
    }
    let code = if broke(status) { Code::Unavailable } else { Code::from_i32(status.code() as i32) };
    Failure(grpc_nested(code, status.message()))
}
