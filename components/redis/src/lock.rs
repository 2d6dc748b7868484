//! `lock.redis`: a key per resource that expires, with the owner as value
//! (components.md §8).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::lock::{Error, LockStore, UnlockStatus};
use dapr_components::{InitContext, InitError, Properties};
use redis::{RedisError, Value, cmd};

use crate::connect::Connector;
use crate::connection::{Connection, text, text_of};
use crate::settings::{Kind, Settings, Topology};

/// Deletes the key if the owner is the one given; -1: there is none, -2: it is
/// somebody else's.
const UNLOCK: &str = "local owner = redis.call('GET', KEYS[1]) \
     if not owner then return -1 end \
     if owner ~= ARGV[1] then return -2 end \
     return redis.call('DEL', KEYS[1])";

/// Locks on one Redis server, or on the one that sentinels name.
pub struct RedisLock {
    connection: Connection,
}

impl RedisLock {
    pub(crate) fn settings(properties: &Properties) -> Result<Settings, InitError> {
        let settings = Settings::parse(properties, Kind::Lock)?;
        if properties.get("redisHost").unwrap_or_default().is_empty() {
            return Err(InitError::new("metadata property redisHost is empty"));
        }
        if properties.get("redisType") == Some("cluster") {
            return Err(InitError::new("this component does not support connecting to Redis Cluster"));
        }
        Ok(settings)
    }

    /// Connects; fails when the server is away or of a kind that loses locks.
    pub async fn connect(context: &InitContext) -> Result<Self, InitError> {
        let settings = Self::settings(&context.properties)?;
        let connector = Arc::new(Connector::new(&settings)?);
        let connection = Connection::new(connector, settings.read_timeout, settings.retry);
        connection
            .call(&cmd("PING"))
            .await
            .map_err(|e| InitError::new(format!("error connecting to Redis: {}", text(&e))))?;
        // Servers that cannot tell are taken as they are.
        let replicated = matches!(connection.connected_replicas().await, Ok(1..));
        if replicated && settings.topology != Topology::Sentinel {
            return Err(InitError::new("replication is not supported"));
        }
        Ok(Self { connection })
    }
}

fn failed(error: &RedisError) -> Error {
    Error::new(text(error))
}

#[async_trait]
impl LockStore for RedisLock {
    async fn try_lock(&self, resource: &str, owner: &str, expiry: Duration) -> Result<bool, Error> {
        let mut command = cmd("SET");
        command.arg(resource).arg(owner).arg("EX").arg(expiry.as_secs()).arg("NX");
        let answer = self.connection.call(&command).await.map_err(|e| failed(&e))?;
        Ok(text_of(answer).is_some())
    }

    async fn unlock(&self, resource: &str, owner: &str) -> Result<UnlockStatus, Error> {
        let mut command = cmd("EVAL");
        command.arg(UNLOCK).arg(1).arg(resource).arg(owner);
        let answer = self.connection.call(&command).await.map_err(|e| failed(&e))?;
        Ok(match answer {
            Value::Int(0..) => UnlockStatus::Success,
            Value::Int(-1) => UnlockStatus::LockDoesNotExist,
            Value::Int(-2) => UnlockStatus::LockBelongsToOthers,
            _ => UnlockStatus::InternalError,
        })
    }

    async fn close(&self) {
        self.connection.close();
    }
}
