//! What the metadata of the Redis components may hold (components.md §3.2).

use dapr_components::description::{Description, Field, FieldKind};
use dapr_gocompat::{bools, duration};

use crate::state::check_indexes;

/// Without it the server is on this machine.
const HOST: &[Field] = &[Field::text("redisHost").expected()];
const CONNECTION: &[Field] = &[
    Field::checked("redisPort", port),
    Field::text("redisUsername"),
    Field::text("redisPassword"),
    Field::text("sentinelUsername"),
    Field::text("sentinelPassword"),
    Field::text("sentinelMasterName"),
    Field::integer("redisDB"),
    Field::new("redisType", FieldKind::Lenient(topology)),
    Field::strict_bool("failover"),
    Field::strict_bool("enableTLS"),
    Field::strict_bool("insecureSkipTLSVerify"),
    Field::text("clientCert"),
    Field::text("clientKey"),
    Field::integer("redisMaxRetries"),
    Field::checked("redisMinRetryInterval", timer),
    Field::checked("redisMaxRetryInterval", timer),
    Field::checked("dialTimeout", timer),
    Field::checked("readTimeout", timer),
    Field::checked("useEntraID", no_entra),
];
/// The names that settings had in old releases.
const OLD_NAMES: &[Field] = &[Field::integer("maxRetries"), Field::integer("maxRetryBackoff")];
const STATE_FIELDS: &[Field] =
    &[Field::integer("ttlInSeconds"), Field::checked("queryIndexes", check_indexes)];
const STREAM_FIELDS: &[Field] = &[
    Field::duration_or_millis("processingTimeout"),
    Field::new("redeliverInterval", FieldKind::Lenient(millis)),
    Field::count("queueDepth"),
    Field::count("concurrency"),
    Field::integer("maxLenApprox"),
    Field::duration_or_millis("streamTTL"),
];
const LOCK_HOST: &[Field] = &[Field::text("redisHost").required()];
/// Sizes and times of a pool: one connection carries all commands here.
const POOL: &[&str] = &[
    "writeTimeout",
    "poolSize",
    "minIdleConns",
    "maxConnAge",
    "poolTimeout",
    "idleTimeout",
    "idleCheckFrequency",
];

pub(crate) const STATE: Description =
    Description::new(&["state.redis"], &[HOST, CONNECTION, OLD_NAMES, STATE_FIELDS]).without_effect(POOL);
pub(crate) const PUBSUB: Description =
    Description::new(&["pubsub.redis"], &[HOST, CONNECTION, STREAM_FIELDS]).without_effect(POOL);
pub(crate) const CONFIGURATION: Description =
    Description::new(&["configuration.redis"], &[HOST, CONNECTION]).without_effect(POOL);
pub(crate) const LOCK: Description =
    Description::new(&["lock.redis"], &[LOCK_HOST, CONNECTION, OLD_NAMES]).without_effect(POOL);

fn port(text: &str) -> Result<(), String> {
    let number = text.trim().parse::<u16>();
    number.map(|_| ()).map_err(|_| "a port number".to_owned())
}

fn topology(text: &str) -> Result<(), String> {
    match text {
        "node" | "cluster" => Ok(()),
        _ => Err("node or cluster".to_owned()),
    }
}

fn timer(text: &str) -> Result<(), String> {
    if text.parse::<i64>().is_ok() || duration::parse_signed(text).is_ok() {
        return Ok(());
    }
    Err("a duration such as 500ms or 5s, or a number of milliseconds, -1 to disable".to_owned())
}

fn millis(text: &str) -> Result<(), String> {
    text.parse::<u64>()
        .map(|_| ())
        .map_err(|_| "a number of milliseconds; a unit is not understood".to_owned())
}

fn no_entra(text: &str) -> Result<(), String> {
    match bools::parse_bool(text) {
        Ok(false) => Ok(()),
        Ok(true) => Err("false: this build logs in with redisUsername and redisPassword only".to_owned()),
        Err(_) => Err("true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;

    use super::*;
    use crate::lock::RedisLock;
    use crate::pubsub::check_metadata;
    use crate::settings::{Kind, Settings};

    fn check(
        description: &Description,
        decode: impl Fn(&Properties) -> Result<(), dapr_components::InitError>,
    ) -> Result<(), String> {
        DecoderCheck::new(description)
            .sample("redisHost", "localhost:6379")
            .sample("redisPort", "6379")
            .sample("redisType", "node")
            .sample("useEntraID", "false")
            .sample("redisMinRetryInterval", "5s")
            .sample("redisMaxRetryInterval", "5s")
            .sample("dialTimeout", "5s")
            .sample("readTimeout", "-1")
            .sample("redeliverInterval", "500")
            .sample("queryIndexes", r#"[{"name": "i", "indexes": [{"key": "a", "type": "TEXT"}]}]"#)
            .run(|properties| decode(properties).map_err(|e| e.0))
    }

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        let with = |kind| move |p: &Properties| Settings::parse(p, kind).map(|_| ());
        assert_eq!(
            check(&STATE, |p| {
                with(Kind::State)(p)?;
                crate::state::Options::parse(p).map(|_| ())
            }),
            Ok(())
        );
        assert_eq!(
            check(&PUBSUB, |p| {
                with(Kind::PubSub)(p)?;
                check_metadata(p)
            }),
            Ok(())
        );
        assert_eq!(check(&CONFIGURATION, with(Kind::Configuration)), Ok(()));
        assert_eq!(check(&LOCK, |p| RedisLock::settings(p).map(|_| ())), Ok(()));
    }
}
