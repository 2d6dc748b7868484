use std::time::Duration;

use dapr_components::{InitError, Properties};

use crate::connection::{Defaults, Options, identifier};

const DEFAULT_CONCURRENCY: usize = 100;
pub(crate) const MAX_CONCURRENCY: usize = 10_000;
const DEFAULT_REDELIVER_INTERVAL: Duration = Duration::from_secs(15);
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);
const DEFAULT_MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
const DEFAULT_MESSAGE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Doublings beyond make no difference to any sensible delay.
const MAX_DOUBLINGS: u32 = 20;

/// Metadata of `pubsub.sqlite`, checked.
#[derive(Debug)]
pub(super) struct PubSubOptions {
    pub(super) connection: Options,
    /// Prefix of the table names.
    pub(super) table: String,
    pub(super) metadata_table: String,
    pub(super) consumer_id: String,
    /// Messages of one subscription that are handled at the same time.
    pub(super) concurrency: usize,
    /// Messages of a consumer that died come back after this long.
    pub(super) redeliver_interval: Duration,
    /// `None`: a handler may take as long as it likes.
    pub(super) processing_timeout: Option<Duration>,
    retry_delay: Duration,
    max_retry_delay: Duration,
    /// `None`: no limit.
    pub(super) max_deliveries: Option<u32>,
    /// `None`: messages without a TTL stay until they are handled.
    pub(super) message_ttl: Option<Duration>,
}

impl PubSubOptions {
    pub(super) fn new(properties: &Properties, app_id: &str) -> Result<Self, InitError> {
        let connection = Options::new(properties, Defaults::default())?;
        let name = |property: &str, default: &'static str| {
            let value = properties.get(property).unwrap_or(default);
            identifier(value)
                .map(str::to_owned)
                .ok_or_else(|| InitError::new(format!("invalid identifier: {value}")))
        };
        let duration = |property: &str, default: Duration| -> Result<Duration, InitError> {
            Ok(properties.duration(property)?.unwrap_or(default))
        };
        let concurrency = properties.integer("concurrency")?.unwrap_or(DEFAULT_CONCURRENCY);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(InitError::new(format!(
                "invalid value '{concurrency}' for metadata property 'concurrency': must be between 1 and {MAX_CONCURRENCY}"
            )));
        }
        let redeliver_interval = duration("redeliverInterval", DEFAULT_REDELIVER_INTERVAL)?;
        if redeliver_interval < Duration::from_secs(1) {
            return Err(InitError::new(
                "invalid value for metadata property 'redeliverInterval': must be at least 1s",
            ));
        }
        let consumer_id = properties.get("consumerID").filter(|id| !id.is_empty()).unwrap_or(app_id);
        Ok(Self {
            table: name("tableName", "pubsub")?,
            metadata_table: name("metadataTableName", "metadata")?,
            consumer_id: consumer_id.to_owned(),
            concurrency,
            redeliver_interval,
            processing_timeout: Some(duration("processingTimeout", Duration::ZERO)?).filter(|d| !d.is_zero()),
            retry_delay: duration("retryDelay", DEFAULT_RETRY_DELAY)?,
            max_retry_delay: duration("maxRetryDelay", DEFAULT_MAX_RETRY_DELAY)?,
            max_deliveries: properties.integer("maxDeliveries")?.filter(|n| *n > 0),
            message_ttl: Some(duration("messageTTL", DEFAULT_MESSAGE_TTL)?).filter(|d| !d.is_zero()),
            connection,
        })
    }

    /// Pause before the delivery that follows the `attempts`-th.
    pub(super) fn retry_delay(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        self.retry_delay.saturating_mul(1 << doublings).min(self.max_retry_delay)
    }

    /// Whether a message that was delivered `attempts` times may be again.
    pub(super) fn may_redeliver(&self, attempts: u32) -> bool {
        self.max_deliveries.is_none_or(|most| attempts < most)
    }
}
