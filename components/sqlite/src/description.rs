//! What the metadata of the components may hold (components.md §1.6, §3.5;
//! docs/sqlite.md for those that only this project has).

use std::time::Duration;

use dapr_components::Properties;
use dapr_components::description::{Description, Field};

use crate::connection::identifier;

const DATABASE: &[Field] = &[
    Field::text("connectionString").aliases(&["url"]).required(),
    Field::checked("timeout", timeout).aliases(&["timeoutInSeconds"]),
    Field::checked("busyTimeout", or_negative),
    Field::bool("disableWAL"),
    Field::checked("tableName", table),
    Field::checked("metadataTableName", table),
];
const CLEANUP: &[Field] =
    &[Field::checked("cleanupInterval", or_negative).aliases(&["cleanupIntervalInSeconds"])];
const DELIVERY: &[Field] = &[
    Field::text("consumerID"),
    Field::checked("concurrency", concurrency),
    Field::checked("redeliverInterval", timeout),
    Field::duration("processingTimeout"),
    Field::duration("retryDelay"),
    Field::duration("maxRetryDelay"),
    Field::count("maxDeliveries"),
    Field::duration("messageTTL"),
];

pub(crate) const STATE: Description = Description::new(&["state.sqlite"], &[DATABASE, CLEANUP]);
pub(crate) const PUBSUB: Description = Description::new(&["pubsub.sqlite"], &[DATABASE, DELIVERY]);
pub(crate) const CONFIGURATION: Description = Description::new(&["configuration.sqlite"], &[DATABASE]);
pub(crate) const LOCK: Description = Description::new(&["lock.sqlite"], &[DATABASE, CLEANUP]);

fn duration(text: &str) -> Option<Duration> {
    Properties::new([("time", text)]).ok()?.duration("time").ok()?
}

fn timeout(text: &str) -> Result<(), String> {
    let at_least_one = duration(text).is_some_and(|time| time >= Duration::from_secs(1));
    if at_least_one { Ok(()) } else { Err("a duration of at least 1s, or a number of seconds".to_owned()) }
}

/// What is negative is off.
fn or_negative(text: &str) -> Result<(), String> {
    if text.trim_start().starts_with('-') || duration(text).is_some() {
        return Ok(());
    }
    Err("a duration such as 500ms or 5s, or a number of seconds".to_owned())
}

fn table(text: &str) -> Result<(), String> {
    identifier(text).map(|_| ()).ok_or_else(|| "letters, digits and underscores only".to_owned())
}

fn concurrency(text: &str) -> Result<(), String> {
    let most = crate::pubsub::MAX_CONCURRENCY;
    let fits = text.trim().parse().is_ok_and(|number: usize| (1..=most).contains(&number));
    if fits { Ok(()) } else { Err(format!("a whole number between 1 and {most}")) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use dapr_components::description::DecoderCheck;
    use dapr_components::{InitContext, InitError};
    use dapr_kernel::tasks::TaskGroup;
    use dapr_kernel::{AppIdentity, Shutdown};

    use super::*;

    fn context(properties: &Properties) -> InitContext {
        InitContext {
            name: "test".into(),
            component_type: "state.sqlite".into(),
            version: "v1".into(),
            properties: properties.clone(),
            identity: AppIdentity::new("me", None),
            tasks: TaskGroup::new(Shutdown::new()),
        }
    }

    fn check(description: &Description, open: impl Fn(InitContext) -> Result<(), InitError>) {
        let folder = tempfile::tempdir().unwrap();
        let opened = Cell::new(0);
        let outcome = DecoderCheck::new(description)
            .sample("timeout", "7s")
            .sample("busyTimeout", "7")
            .sample("tableName", "things")
            .sample("metadataTableName", "about")
            .sample("cleanupInterval", "1h")
            .sample("concurrency", "2")
            .sample("redeliverInterval", "5s")
            .run(|properties| {
                let mut context = context(properties);
                // One that was closed may still hold its file for a moment.
                opened.set(opened.get() + 1);
                let file = folder.path().join(format!("{}.db", opened.get()));
                for name in ["connectionString", "url"] {
                    if properties.get(name).is_some_and(|text| !text.is_empty()) {
                        context.properties.set(name, file.to_string_lossy());
                    }
                }
                open(context).map_err(|e| e.0)
            });
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        check(&STATE, |c| runtime.block_on(crate::StateStore::open(c)).map(|_| ()));
        check(&CONFIGURATION, |c| runtime.block_on(crate::Configuration::open(c)).map(|_| ()));
        check(&LOCK, |c| runtime.block_on(crate::Lock::open(c)).map(|_| ()));
        check(&PUBSUB, |c| crate::pubsub::check_metadata(&c.properties));
    }
}
