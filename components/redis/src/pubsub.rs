//! `pubsub.redis`: one stream per topic, one consumer group per application
//! (components.md §4.2).

mod acks;
mod consumer;
mod reclaim;
mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use dapr_components::pubsub::{
    BulkPublishRequest, Error, FailedEntry, Feature, MessageHandler, PubSub, PublishRequest, SubscribeRequest,
};
use dapr_components::{InitContext, InitError, Properties};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use redis::{Pipeline, RedisError, RedisResult, Value, cmd};
use tokio::sync::{RwLock, Semaphore};

use crate::connect::Connector;
use crate::connection::{Connection, text};
use crate::settings::{Kind, Settings};
use consumer::Subscription;

const DEFAULT_PROCESSING_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_REDELIVER_INTERVAL: Duration = Duration::from_secs(15);
const DEFAULT_QUEUE_DEPTH: u32 = 100;
const DEFAULT_CONCURRENCY: u32 = 10;

/// What only this component reads from its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamSettings {
    /// Group and consumer name.
    consumer: String,
    /// When a message in hand is given up and a pending one may be taken over.
    processing_timeout: Duration,
    redeliver_interval: Duration,
    /// Most messages that one read brings.
    queue_depth: u32,
    concurrency: u32,
    trim: Trim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trim {
    No,
    MaxLength(i64),
    Age(Duration),
}

impl StreamSettings {
    fn parse(properties: &Properties) -> Result<Self, InitError> {
        let max_length = properties.integer::<i64>("maxLenApprox")?.unwrap_or(0);
        let age = properties.legacy_duration("streamTTL")?.unwrap_or_default();
        if max_length > 0 && !age.is_zero() {
            tracing::warn!(
                target: "dapr.contrib",
                "redis streams: maxLenApprox and streamTTL cannot be used together; only one stream \
                 trimming strategy can be active at a time."
            );
        }
        let redeliver_interval = match properties.get("redeliverInterval").map(str::parse::<u64>) {
            Some(Ok(millis)) => Duration::from_millis(millis),
            // Anything but whole milliseconds has never had an effect.
            Some(Err(_)) | None => DEFAULT_REDELIVER_INTERVAL,
        };
        Ok(Self {
            consumer: properties.get("consumerID").unwrap_or_default().to_owned(),
            processing_timeout: properties
                .legacy_duration("processingTimeout")?
                .unwrap_or(DEFAULT_PROCESSING_TIMEOUT),
            redeliver_interval,
            queue_depth: properties.integer("queueDepth")?.unwrap_or(DEFAULT_QUEUE_DEPTH),
            concurrency: properties.integer("concurrency")?.unwrap_or(DEFAULT_CONCURRENCY),
            trim: match (max_length, age) {
                (length, _) if length > 0 => Trim::MaxLength(length),
                (_, age) if !age.is_zero() => Trim::Age(age),
                _ => Trim::No,
            },
        })
    }

    /// Time that a handler gets, unless redelivery is disabled.
    fn handler_timeout(&self) -> Option<Duration> {
        (!self.processing_timeout.is_zero() && !self.redeliver_interval.is_zero())
            .then_some(self.processing_timeout)
    }
}

/// Reads the metadata as a constructor would.
#[cfg(test)]
pub(crate) fn check_metadata(properties: &Properties) -> Result<(), InitError> {
    StreamSettings::parse(properties).map(|_| ())
}

pub struct RedisStreams {
    shared: Arc<Shared>,
    host: String,
}

/// What the subscriptions of a component have in common.
struct Shared {
    connector: Arc<Connector>,
    /// Publishing, acknowledging, taking over; never blocks on the server.
    connection: Connection,
    settings: StreamSettings,
    /// How logs call the component.
    log_name: String,
    /// `readTimeout` of the metadata, if given: how long a read blocks.
    block: Option<Duration>,
    dial_timeout: Option<Duration>,
    /// One permit for each message that may be in hand, of whatever topic.
    workers: Arc<Semaphore>,
    tasks: TaskGroup,
    /// No more messages are fetched; those in hand are still handled.
    paused: Shutdown,
    /// Shared by whatever fetches messages until it has handed over the last.
    fetching: RwLock<()>,
    closed: Shutdown,
}

impl RedisStreams {
    /// Connects; fails when the server is away.
    pub async fn connect(context: &InitContext) -> Result<Self, InitError> {
        let settings = Settings::parse(&context.properties, Kind::PubSub)?;
        let mut streams = StreamSettings::parse(&context.properties)?;
        if streams.consumer.is_empty() {
            streams.consumer = context.identity.app_id().to_owned();
        }
        let connector = Arc::new(Connector::new(&settings)?);
        let concurrency = usize::try_from(streams.concurrency).unwrap_or(usize::MAX);
        let shared = Shared {
            connection: Connection::new(connector.clone(), settings.read_timeout, settings.retry),
            connector,
            block: settings.block,
            dial_timeout: settings.dial_timeout,
            workers: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            settings: streams,
            log_name: context.log_name(),
            tasks: context.tasks.clone(),
            paused: Shutdown::new(),
            fetching: RwLock::default(),
            closed: context.tasks.shutdown().child(),
        };
        let host = settings.host();
        shared.connection.call(&cmd("PING")).await.map_err(|e| {
            InitError::new(format!("redis streams: error connecting to redis at {host}: {}", text(&e)))
        })?;
        Ok(Self { shared: Arc::new(shared), host })
    }
}

#[async_trait]
impl PubSub for RedisStreams {
    fn features(&self) -> &[Feature] {
        &[]
    }

    async fn publish(&self, request: PublishRequest) -> Result<(), Error> {
        if self.shared.closed.is_triggered() {
            return Err(Error::Closed);
        }
        let command = wire::add_command(
            &request.topic,
            &request.data,
            &request.metadata,
            self.shared.settings.trim,
            SystemTime::now(),
        );
        match self.shared.connection.call(&command).await {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::Retriable(publish_error(&e))),
        }
    }

    /// All entries in one round trip, each for itself: no transaction, and so
    /// no feature that the metadata API would show (components.md §4.2).
    async fn bulk_publish(&self, request: &BulkPublishRequest) -> Option<Result<Vec<FailedEntry>, Error>> {
        if self.shared.closed.is_triggered() {
            return Some(Err(Error::Closed));
        }
        let (trim, now) = (self.shared.settings.trim, SystemTime::now());
        let mut pipeline = Pipeline::with_capacity(request.entries.len());
        for entry in &request.entries {
            let add = wire::add_command(&request.topic, &entry.event, &entry.metadata, trim, now);
            pipeline.add_command(add);
        }
        if pipeline.is_empty() {
            return Some(Ok(Vec::new()));
        }
        let answers = self.shared.connection.call_all(&pipeline, 0, pipeline.len()).await;
        Some(match answers {
            Ok(answers) => Ok(refused(request, answers)),
            Err(e) => Err(Error::Retriable(publish_error(&e))),
        })
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
        stop: Shutdown,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<(), Error> {
        if self.shared.closed.is_triggered() {
            return Err(Error::Closed);
        }
        self.shared.create_group(&request.topic).await.map_err(|e| {
            let cause = text(&e);
            tracing::error!(target: "dapr.contrib", "redis streams: {cause}");
            Error::Other(cause)
        })?;
        Subscription::start(self.shared.clone(), request.topic, stop, handler);
        Ok(())
    }

    /// What was fetched would stay pending for `processingTimeout` if it was
    /// not handed over now.
    async fn pause(&self) {
        self.shared.paused.trigger();
        drop(self.shared.fetching.write().await);
    }

    async fn ping(&self) -> Result<(), Error> {
        match self.shared.connection.call(&cmd("PING")).await {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::Other(format!(
                "redis pubsub: error connecting to redis at {}: {}",
                self.host,
                text(&e)
            ))),
        }
    }

    /// Messages in hand may finish; their acknowledgements open the connection
    /// again if need be.
    async fn close(&self) {
        self.shared.closed.trigger();
        self.shared.connection.close();
    }
}

fn publish_error(error: &RedisError) -> String {
    format!("redis streams: error from publish: {}", text(error))
}

/// The entries that the server did not take.
fn refused(request: &BulkPublishRequest, answers: Vec<Value>) -> Vec<FailedEntry> {
    let pairs = request.entries.iter().zip(answers);
    pairs
        .filter_map(|(entry, answer)| match answer {
            Value::ServerError(error) => {
                Some(FailedEntry { entry_id: entry.entry_id.clone(), error: publish_error(&error.into()) })
            }
            _ => None,
        })
        .collect()
}

impl Shared {
    /// A new group begins with the oldest entry of the stream.
    async fn create_group(&self, topic: &str) -> RedisResult<()> {
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(topic).arg(&self.settings.consumer).arg("0").arg("MKSTREAM");
        match self.connection.call(&command).await {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[(&str, &str)]) -> StreamSettings {
        StreamSettings::parse(&Properties::new(items.iter().copied()).unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_code_not_of_the_documentation() {
        let s = parse(&[]);
        assert_eq!(s.processing_timeout, Duration::from_secs(60));
        assert_eq!(s.redeliver_interval, Duration::from_secs(15));
        assert_eq!((s.queue_depth, s.concurrency, s.trim), (100, 10, Trim::No));
    }

    #[test]
    fn the_redeliver_interval_takes_whole_milliseconds_only() {
        assert_eq!(parse(&[("redeliverInterval", "250")]).redeliver_interval, Duration::from_millis(250));
        assert_eq!(parse(&[("redeliverInterval", "30s")]).redeliver_interval, DEFAULT_REDELIVER_INTERVAL);
        assert_eq!(parse(&[("redeliverInterval", "0")]).handler_timeout(), None);
        assert_eq!(parse(&[("processingTimeout", "0")]).handler_timeout(), None);
        assert_eq!(parse(&[("processingTimeout", "1m")]).handler_timeout(), Some(Duration::from_secs(60)));
        assert_eq!(parse(&[("processingTimeout", "90")]).processing_timeout, Duration::from_millis(90));
    }

    #[test]
    fn a_length_wins_over_an_age() {
        assert_eq!(parse(&[("maxLenApprox", "5"), ("streamTTL", "1h")]).trim, Trim::MaxLength(5));
        assert_eq!(parse(&[("streamTTL", "1h")]).trim, Trim::Age(Duration::from_secs(3600)));
    }
}
