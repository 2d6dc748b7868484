//! `configuration.redis`: plain string keys, whose changes the server
//! announces by keyspace events (components.md §7).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{ConfigurationStore, Error, Item, Items, Query, UpdateHandler};
use dapr_components::{InitContext, InitError};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use futures::StreamExt;
use redis::aio::PubSub;
use redis::{RedisError, RedisResult, Value, cmd};

use crate::connect::Connector;
use crate::connection::{Connection, text, text_of};
use crate::settings::{Kind, Settings};

/// Between value and version in what is stored.
const SEPARATOR: &str = "||";
/// Keys that one step of a scan looks at.
const SCAN_COUNT: u32 = 1000;
/// Events of generic commands, strings, expiry and eviction, by key.
const EVENTS: &str = "Kg$xe";
/// Pause before a lost subscription is made again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Configuration in one Redis database.
pub struct RedisConfiguration {
    reader: Reader,
    connector: Arc<Connector>,
    database: i64,
    tasks: TaskGroup,
}

/// Reads items; shared with the subscriptions.
#[derive(Clone)]
struct Reader {
    connection: Arc<Connection>,
    log_name: Arc<str>,
}

impl RedisConfiguration {
    /// Connects; fails when the server is away.
    pub async fn connect(context: &InitContext) -> Result<Self, InitError> {
        let settings = Settings::parse(&context.properties, Kind::Configuration)?;
        let connector = Arc::new(Connector::new(&settings)?);
        let connection = Connection::new(connector.clone(), settings.read_timeout, settings.retry);
        connection.call(&cmd("PING")).await.map_err(|e| {
            let (host, reason) = (settings.host(), text(&e));
            InitError::new(format!("redis store: error connecting to redis at {host}: {reason}"))
        })?;
        let reader = Reader { connection: Arc::new(connection), log_name: context.log_name().into() };
        let tasks = TaskGroup::new(context.tasks.shutdown().child());
        Ok(Self { reader, connector, database: settings.database, tasks })
    }
}

impl Reader {
    async fn read(&self, keys: &[String]) -> Result<Items, Error> {
        let all;
        let keys = if keys.is_empty() {
            all = self.keys().await.map_err(|e| Error::new(text(&e)))?;
            &all
        } else {
            keys
        };
        let mut items = Items::new();
        for key in keys {
            match self.connection.call(cmd("GET").arg(key)).await {
                Ok(Value::Nil) => self.left_out(key, "does not exist"),
                Ok(value) => {
                    let item = text_of(value).map(|stored| parse(&stored)).unwrap_or_default();
                    if !item.value.is_empty() {
                        items.insert(key.clone(), item);
                    }
                }
                Err(error) if text(&error).starts_with("WRONGTYPE") => {
                    self.left_out(key, "is not of a type that is supported");
                }
                Err(error) => {
                    return Err(Error::new(format!(
                        "fail to get configuration for redis key={key}, error is {}",
                        text(&error)
                    )));
                }
            }
        }
        Ok(items)
    }

    fn left_out(&self, key: &str, reason: &str) {
        tracing::warn!(target: "dapr.contrib", component = %self.log_name, "redis key {key} {reason}, ignore it");
    }

    /// Every key, in steps that let the server do other work in between.
    async fn keys(&self) -> RedisResult<Vec<String>> {
        // A cluster scans node by node; its client knows only the whole list.
        if self.connection.is_cluster() {
            let keys = self.connection.call(cmd("KEYS").arg("*")).await?;
            return Ok(list(keys));
        }
        let mut found = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
            let Value::Array(answer) = self.connection.call(&scan).await? else { break };
            let mut answer = answer.into_iter();
            cursor = answer.next().and_then(text_of).unwrap_or_else(|| "0".to_owned());
            found.extend(answer.next().map(list).unwrap_or_default());
            if cursor == "0" {
                break;
            }
        }
        Ok(found.into_iter().collect())
    }
}

fn list(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.into_iter().filter_map(text_of).collect(),
        _ => Vec::new(),
    }
}

/// `value||version`; what follows a second separator is ignored.
fn parse(stored: &str) -> Item {
    let mut parts = stored.split(SEPARATOR).map(str::to_owned);
    let (value, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Item { value, version, ..Item::default() }
}

#[async_trait]
impl ConfigurationStore for RedisConfiguration {
    async fn get(&self, query: &Query) -> Result<Items, Error> {
        self.reader.read(&query.keys).await
    }

    async fn subscribe(
        &self,
        query: Query,
        stop: Shutdown,
        handler: Arc<dyn UpdateHandler>,
    ) -> Result<(), Error> {
        let subscription = Subscription {
            reader: self.reader.clone(),
            connector: self.connector.clone(),
            prefix: format!("__keyspace@{}__:", self.database),
            keys: query.keys,
            handler,
        };
        let link = subscription.open().await?;
        let closing = self.tasks.shutdown().clone();
        self.tasks.spawn("redis-configuration-subscription", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = closing.wait() => {}
                () = subscription.run(link) => {}
            }
        });
        Ok(())
    }

    async fn close(&self) {
        self.tasks.shutdown().trigger();
        self.reader.connection.close();
    }
}

struct Subscription {
    reader: Reader,
    connector: Arc<Connector>,
    /// What channels of keys begin with.
    prefix: String,
    /// Empty for all.
    keys: Vec<String>,
    handler: Arc<dyn UpdateHandler>,
}

impl Subscription {
    /// A connection of its own that listens.
    async fn open(&self) -> Result<PubSub, Error> {
        // A server that refuses may announce its changes all the same: managed
        // ones have the setting elsewhere.
        let mut configure = cmd("CONFIG");
        configure.arg("SET").arg("notify-keyspace-events").arg(EVENTS);
        if let Err(error) = self.reader.connection.call(&configure).await {
            tracing::debug!(target: "dapr.contrib", "CONFIG SET notify-keyspace-events: {}", text(&error));
        }
        let failed = |e: RedisError| Error::new(text(&e));
        let mut link = self.connector.open_pubsub().await.map_err(failed)?;
        if self.keys.is_empty() {
            link.psubscribe(format!("{}*", self.prefix)).await.map_err(failed)?;
        }
        for key in &self.keys {
            link.subscribe(format!("{}{key}", self.prefix)).await.map_err(failed)?;
        }
        Ok(link)
    }

    async fn run(self, mut link: PubSub) {
        loop {
            {
                let mut messages = link.on_message();
                while let Some(message) = messages.next().await {
                    if let Some(key) = message.get_channel_name().strip_prefix(&self.prefix) {
                        self.tell(key).await;
                    }
                }
            }
            tracing::warn!(
                target: "dapr.contrib", component = %self.reader.log_name,
                "the connection of a configuration subscription was lost; changes meanwhile are not announced"
            );
            link = loop {
                tokio::time::sleep(RECONNECT).await;
                match self.open().await {
                    Ok(link) => break link,
                    Err(error) => {
                        tracing::debug!(target: "dapr.contrib", "configuration subscription: {error}");
                    }
                }
            };
        }
    }

    /// The event says that a key changed, not to what. One that is not there
    /// any more is an empty item.
    async fn tell(&self, key: &str) {
        let key = key.to_owned();
        match self.reader.read(std::slice::from_ref(&key)).await {
            Ok(mut items) => {
                items.entry(key).or_default();
                self.handler.handle(items).await;
            }
            Err(error) => {
                tracing::error!(target: "dapr.contrib", "get response from redis failed: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_follow_the_value() {
        for (stored, value, version) in
            [("", "", ""), ("v", "v", ""), ("v||", "v", ""), ("v||1.0", "v", "1.0"), ("v||1||2", "v", "1")]
        {
            let item = parse(stored);
            assert_eq!((item.value.as_str(), item.version.as_str()), (value, version), "{stored}");
        }
    }
}
