//! A connection that comes back after its server was away.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dapr_kernel::workers::WorkerId;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use crate::connect::{Connector, Link};
use crate::settings::Retry;

/// Shared by any number of callers, whose commands are pipelined.
///
/// Each worker that calls has a link of its own: the task that drives one lives
/// where it was opened, and a command that crosses over to it wakes another
/// thread twice, which costs more than the command.
///
/// A command that meets a broken connection or a server that is not ready is
/// tried again as often as `redisMaxRetries` says; one without an answer within
/// `readTimeout` is not, because it may have had its effect.
pub(crate) struct Connection {
    connector: Arc<Connector>,
    response_timeout: Option<Duration>,
    retry: Retry,
    /// As many as workers have called, in any order.
    links: ArcSwap<Vec<(WorkerId, Arc<Link>)>>,
    /// One caller connects, the others wait for it.
    connecting: Mutex<()>,
}

impl Connection {
    /// Connects at the first command.
    pub(crate) fn new(connector: Arc<Connector>, response_timeout: Option<Duration>, retry: Retry) -> Self {
        Self { connector, response_timeout, retry, links: ArcSwap::default(), connecting: Mutex::new(()) }
    }

    pub(crate) async fn call(&self, command: &Cmd) -> RedisResult<Value> {
        let mut attempt = 0;
        loop {
            let error = match self.try_call(command).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            self.before_next(&mut attempt, error).await?;
        }
    }

    /// As [`Link::call_all`].
    pub(crate) async fn call_all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut attempt = 0;
        loop {
            let error = match self.try_call_all(pipeline, offset, count).await {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            self.before_next(&mut attempt, error).await?;
        }
    }

    async fn try_call(&self, command: &Cmd) -> RedisResult<Value> {
        let link = self.link().await?;
        let result = Link::clone(&link).call(command).await;
        self.settle(&link, result)
    }

    async fn try_call_all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let link = self.link().await?;
        let result = Link::clone(&link).call_all(pipeline, offset, count).await;
        self.settle(&link, result)
    }

    async fn link(&self) -> RedisResult<Arc<Link>> {
        let here = WorkerId::current();
        if let Some(link) = self.open_link(here) {
            return Ok(link);
        }
        let _turn = self.connecting.lock().await;
        if let Some(link) = self.open_link(here) {
            return Ok(link);
        }
        let link = Arc::new(self.connector.open(self.response_timeout).await?);
        self.links.rcu(|links| links.iter().cloned().chain([(here, link.clone())]).collect::<Vec<_>>());
        Ok(link)
    }

    fn open_link(&self, here: WorkerId) -> Option<Arc<Link>> {
        self.links.load().iter().find(|(worker, _)| *worker == here).map(|(_, link)| link.clone())
    }

    /// Drops a link that is of no more use.
    fn settle<T>(&self, link: &Arc<Link>, result: RedisResult<T>) -> RedisResult<T> {
        if result.as_ref().is_err_and(is_link_broken) {
            self.links.rcu(|links| {
                links.iter().filter(|(_, other)| !Arc::ptr_eq(other, link)).cloned().collect::<Vec<_>>()
            });
        }
        result
    }

    async fn before_next(&self, attempt: &mut u32, error: RedisError) -> RedisResult<()> {
        if *attempt >= self.retry.attempts || !is_worth_retrying(&error) {
            return Err(error);
        }
        let pause = backoff(&self.retry, *attempt);
        *attempt += 1;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.connector.is_cluster()
    }

    /// Replicas that the server says it has.
    pub(crate) async fn connected_replicas(&self) -> RedisResult<u64> {
        let info = text_of(self.call(redis::cmd("INFO").arg("replication")).await?).unwrap_or_default();
        let count = info.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
        Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }

    pub(crate) fn close(&self) {
        self.links.store(Arc::default());
    }
}

/// Doubling from the minimum with jitter, never above the maximum.
fn backoff(retry: &Retry, attempt: u32) -> Duration {
    let ceiling = retry.min.saturating_mul(1 << attempt.min(20));
    retry.min.max(ceiling.mul_f64(fastrand::f64())).min(retry.max)
}

/// The next command needs a new connection.
fn is_link_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(
            error.kind(),
            // A replica now: the address, or the sentinels, may name another node.
            ErrorKind::Server(ServerErrorKind::ReadOnly)
        )
}

fn is_worth_retrying(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io => !error.is_timeout(),
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain => true,
            _ => error.detail().is_some_and(|detail| detail.starts_with("max number of clients reached")),
        },
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::ClusterConnectionNotFound => true,
        _ => false,
    }
}

/// An error as the server, or the system, words it.
pub(crate) fn text(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    }
}

/// First error among answers, those inside a transaction's answer included.
pub(crate) fn first_error(values: Vec<Value>) -> RedisResult<()> {
    for value in values {
        match value {
            Value::ServerError(error) => return Err(error.into()),
            Value::Array(inner) => first_error(inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// A text or byte string.
pub(crate) fn bytes_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

pub(crate) fn text_of(value: Value) -> Option<String> {
    bytes_of(value).and_then(|bytes| String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_stays_within_its_bounds() {
        let retry = Retry { attempts: 9, min: Duration::from_millis(8), max: Duration::from_millis(512) };
        for attempt in 0..40 {
            let pause = backoff(&retry, attempt);
            assert!(pause >= retry.min && pause <= retry.max, "{attempt}: {pause:?}");
        }
        let inverted = Retry { min: Duration::from_secs(2), ..retry };
        assert_eq!(backoff(&inverted, 0), inverted.max);
    }
}
