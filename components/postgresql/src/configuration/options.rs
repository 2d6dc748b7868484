use std::time::Duration;

use dapr_components::configuration::{Error, RequestMetadata};
use dapr_components::{InitError, Properties};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest name that the server takes.
const MAX_IDENTIFIER: usize = 64;

/// Metadata of the component beyond what the family shares.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) table: String,
    /// Empty when it comes with each subscription.
    notify_channel: String,
    pub(super) timeout: Duration,
}

impl Options {
    pub(super) fn parse(properties: &Properties) -> Result<Self, InitError> {
        let table = properties.get("table").unwrap_or_default();
        if table.is_empty() {
            return Err(InitError::new("missing postgreSQL configuration table name"));
        }
        if table.len() > MAX_IDENTIFIER {
            return Err(InitError::new(format!(
                "table name is too long - tableName : '{table}'. max allowed field length is {MAX_IDENTIFIER}"
            )));
        }
        if !is_name(table) {
            return Err(InitError::new(format!(
                "invalid table name '{table}'. non-alphanumerics or upper cased table names are not supported"
            )));
        }
        let notify_channel = properties.get_any(&["notifyChannel", "pgNotifyChannel"]).unwrap_or_default();
        check_channel(notify_channel).map_err(InitError::new)?;
        let timeout = match properties.duration("timeout")? {
            Some(timeout) => timeout,
            None => properties.duration("timeoutInSeconds")?.unwrap_or(DEFAULT_TIMEOUT),
        };
        if timeout < Duration::from_secs(1) {
            return Err(InitError::new("invalid value for 'timeout': must be greater than 1s"));
        }
        Ok(Self { table: table.to_owned(), notify_channel: notify_channel.to_owned(), timeout })
    }

    /// The component's own, else the request's.
    pub(super) fn channel(&self, metadata: &RequestMetadata) -> Result<String, Error> {
        let named = |(name, _): &(&String, &String)| name.eq_ignore_ascii_case("pgNotifyChannel");
        let channel = match self.notify_channel.as_str() {
            "" => metadata.iter().find(named).map(|(_, value)| value.as_str()).unwrap_or_default(),
            own => own,
        };
        if channel.is_empty() {
            return Err(Error::new(format!(
                "unable to subscribe to \"{}\". notifyChannel must be set in component metadata or request metadata",
                self.table
            )));
        }
        check_channel(channel).map_err(Error::new)?;
        Ok(channel.to_owned())
    }
}

fn check_channel(channel: &str) -> Result<(), String> {
    if channel.len() > MAX_IDENTIFIER {
        return Err(format!(
            "notifyChannel name is too long - \"{channel}\". max allowed length is {MAX_IDENTIFIER}"
        ));
    }
    if !is_name(channel) {
        return Err(format!(
            "invalid notifyChannel name {channel:?}. non-alphanumerics or upper cased names are not supported"
        ));
    }
    Ok(())
}

/// Whether a table or a channel can be called that.
pub(crate) fn check_name(text: &str) -> Result<(), String> {
    if text.len() <= MAX_IDENTIFIER && is_name(text) {
        return Ok(());
    }
    Err(format!("at most {MAX_IDENTIFIER} lower-case letters, digits and any of . / _"))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'/' | b'_'))
}

pub(super) fn is_key(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'/' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[(&str, &str)]) -> Result<Options, String> {
        Options::parse(&Properties::new(items.iter().copied()).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(parse(&[]).unwrap_err(), "missing postgreSQL configuration table name");
        assert_eq!(
            parse(&[("table", "Conf")]).unwrap_err(),
            "invalid table name 'Conf'. non-alphanumerics or upper cased table names are not supported"
        );
        let long = "a".repeat(65);
        assert!(parse(&[("table", &long)]).unwrap_err().starts_with("table name is too long"));
        assert!(
            parse(&[("table", "t"), ("notifyChannel", "a b")])
                .unwrap_err()
                .starts_with("invalid notifyChannel")
        );
        assert_eq!(
            parse(&[("table", "t"), ("timeout", "10ms")]).unwrap_err(),
            "invalid value for 'timeout': must be greater than 1s"
        );
        assert!(is_key("a.B/c_9") && !is_key("a-b") && !is_key("a'b"));
    }

    #[test]
    fn the_channel_of_the_component_comes_first() {
        let request = RequestMetadata::from([("PGNotifyChannel".to_owned(), "theirs".to_owned())]);
        let own = parse(&[("table", "t"), ("pgNotifyChannel", "own")]).unwrap();
        assert_eq!(own.channel(&request).unwrap(), "own");
        let none = parse(&[("table", "t")]).unwrap();
        assert_eq!(none.channel(&request).unwrap(), "theirs");
        assert_eq!(
            none.channel(&RequestMetadata::new()).unwrap_err().to_string(),
            "unable to subscribe to \"t\". notifyChannel must be set in component metadata or request metadata"
        );
    }
}
