//! Where a database is and how it is opened: metadata that every SQLite
//! component shares (components.md §1.6).

use std::time::Duration;

use dapr_components::Properties;
use rusqlite::{Connection, OpenFlags};
use url::form_urlencoded;

use crate::database::Error;

/// Statements that a connection keeps compiled.
const STATEMENT_CACHE: usize = 64;

/// Pragmas that other metadata decides.
const FORBIDDEN_PRAGMAS: [&str; 3] = ["busy_timeout", "journal_mode", "foreign_keys"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Journal {
    Memory,
    Delete,
    Wal,
}

/// Values that differ between the components of the family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) timeout: Duration,
    pub(crate) busy_timeout: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), busy_timeout: Duration::from_secs(2) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// SQLite URI, without the parameters that only drivers know.
    pub(crate) uri: String,
    pub(crate) journal: Journal,
    /// Of the user's own `_pragma` parameters: `name(value)` or `name=value`.
    pragmas: Vec<String>,
    /// Longest time that one request takes, waiting included.
    pub(crate) timeout: Duration,
    /// Longest wait for another connection's lock; zero gives up at once.
    pub(crate) busy_timeout: Duration,
}

impl Options {
    pub(crate) fn new(properties: &Properties, defaults: Defaults) -> Result<Self, Error> {
        let text = properties.get_any(&["connectionString", "url"]).unwrap_or_default();
        if text.is_empty() {
            return Err(Error::new("missing connection string"));
        }
        let timeout = match properties.duration("timeout")? {
            Some(timeout) => timeout,
            None => properties.duration("timeoutInSeconds")?.unwrap_or(defaults.timeout),
        };
        if timeout < Duration::from_secs(1) {
            return Err(Error::new("invalid value for 'timeout': must be greater than 1s"));
        }
        let busy = busy_timeout(properties, defaults.busy_timeout)?;
        Self::parse(text, timeout, busy, properties.truthy("disableWAL"))
    }

    fn parse(
        text: &str,
        timeout: Duration,
        busy_timeout: Duration,
        disable_wal: bool,
    ) -> Result<Self, Error> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) if !path.is_empty() => (path, query),
            _ => (text, ""),
        };
        let folded = text.to_ascii_lowercase();
        let mut in_memory = folded.starts_with(":memory:") || folded.starts_with("file::memory:");
        let mut read_only = false;
        let mut pragmas = Vec::new();
        let mut kept: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            match name.as_str() {
                "_pragma" => pragmas.push(checked_pragma(value)?),
                "_txlock" => {
                    if !value.eq_ignore_ascii_case("immediate") {
                        tracing::warn!(
                            target: "dapr.contrib",
                            "Database connection string has _txlock={value}; transactions are always immediate"
                        );
                    }
                }
                "cache" if in_memory => {}
                // Only the first counts.
                "mode" | "immutable" if kept.iter().any(|(other, _)| *other == name) => {}
                _ => kept.push((name, value)),
            }
        }
        for (name, value) in &kept {
            read_only |= matches!((name.as_str(), value.as_str()), ("mode", "ro") | ("immutable", "1"));
            in_memory |= name == "mode" && value == "memory";
        }
        if in_memory && !kept.iter().any(|(name, _)| name == "cache") {
            kept.push(("cache".to_owned(), "shared".to_owned()));
        }
        let journal = if in_memory {
            Journal::Memory
        } else if disable_wal || read_only {
            Journal::Delete
        } else {
            Journal::Wal
        };
        let prefix = if folded.starts_with("file:") { "" } else { "file:" };
        let mut uri = format!("{prefix}{path}");
        let mut separator = '?';
        for (name, value) in kept {
            uri.push(separator);
            uri.push_str(&escape(&name));
            uri.push('=');
            uri.push_str(&escape(&value));
            separator = '&';
        }
        Ok(Self { uri, journal, pragmas, timeout, busy_timeout })
    }

    /// An in-memory database lives in one connection.
    pub(crate) fn in_memory(&self) -> bool {
        self.journal == Journal::Memory
    }

    pub(crate) fn open(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.uri, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.busy_timeout(self.busy_timeout)?;
        let journal = match self.journal {
            Journal::Memory => "MEMORY",
            Journal::Delete => "DELETE",
            Journal::Wal => "WAL",
        };
        connection.execute_batch(&format!("PRAGMA journal_mode({journal})"))?;
        for pragma in &self.pragmas {
            connection.execute_batch(&format!("PRAGMA {pragma}"))?;
        }
        Ok(connection)
    }
}

/// Whole milliseconds; negative values, like zero, set none.
fn busy_timeout(properties: &Properties, default: Duration) -> Result<Duration, Error> {
    if properties.get("busyTimeout").is_some_and(|text| text.trim_start().starts_with('-')) {
        return Ok(Duration::ZERO);
    }
    let value = properties.duration("busyTimeout")?.unwrap_or(default);
    Ok(Duration::from_millis(value.as_millis().try_into().unwrap_or(u64::MAX)))
}

fn checked_pragma(value: String) -> Result<String, Error> {
    let folded = value.to_ascii_lowercase();
    if let Some(name) = FORBIDDEN_PRAGMAS.iter().find(|name| folded.starts_with(**name)) {
        return Err(Error::new(format!("found forbidden option '_pragma={name}' in the connection string")));
    }
    if value.contains(';') {
        return Err(Error::new(format!("invalid option '_pragma={value}' in the connection string")));
    }
    Ok(value)
}

/// SQLite decodes `%XX` but not `+`.
fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Names of tables go into statements as text.
pub(crate) fn identifier(value: &str) -> Option<&str> {
    let ok = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ok.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(items: &[(&str, &str)]) -> Result<Options, String> {
        let properties = Properties::new(items.iter().copied()).unwrap();
        Options::new(&properties, Defaults::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn connection_strings() {
        let cases = [
            ("data.db", "file:data.db", Journal::Wal),
            ("file:data.db?mode=ro", "file:data.db?mode=ro", Journal::Delete),
            ("data.db?immutable=1", "file:data.db?immutable=1", Journal::Delete),
            ("data.db?_txlock=deferred", "file:data.db", Journal::Wal),
            (":memory:", "file::memory:?cache=shared", Journal::Memory),
            ("file::memory:?cache=private", "file::memory:?cache=shared", Journal::Memory),
            ("file:x?mode=memory", "file:x?mode=memory&cache=shared", Journal::Memory),
        ];
        for (text, uri, journal) in cases {
            let options = options(&[("connectionString", text)]).unwrap();
            assert_eq!((options.uri.as_str(), options.journal), (uri, journal), "{text}");
        }
        let options = options(&[("url", "data.db"), ("disableWAL", "yes")]).unwrap();
        assert_eq!(options.journal, Journal::Delete);
    }

    #[test]
    fn refusals_name_the_reason() {
        let error = |items: &[(&str, &str)]| options(items).unwrap_err();
        assert_eq!(error(&[]), "missing connection string");
        assert_eq!(
            error(&[("connectionString", "a"), ("timeout", "500ms")]),
            "invalid value for 'timeout': must be greater than 1s"
        );
        for name in FORBIDDEN_PRAGMAS {
            assert_eq!(
                error(&[("connectionString", &format!("a.db?_pragma={name}(1)"))]),
                format!("found forbidden option '_pragma={name}' in the connection string")
            );
        }
    }

    #[test]
    fn times() {
        let o = options(&[("connectionString", "a"), ("timeoutInSeconds", "7"), ("busyTimeout", "1500us")])
            .unwrap();
        assert_eq!((o.timeout, o.busy_timeout), (Duration::from_secs(7), Duration::from_millis(1)));
        let o = options(&[("connectionString", "a"), ("busyTimeout", "-1")]).unwrap();
        assert_eq!(o.busy_timeout, Duration::ZERO);
    }

    #[test]
    fn identifiers() {
        assert_eq!(identifier("State_1"), Some("State_1"));
        for bad in ["", "a b", "a;b", "a-b", "é"] {
            assert_eq!(identifier(bad), None);
        }
    }
}
