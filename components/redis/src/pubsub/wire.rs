//! Commands and answers of streams.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use dapr_components::pubsub::{Message, RequestMetadata};
use redis::{Cmd, Value, cmd};

use super::Trim;
use crate::connection::{bytes_of, text_of};

/// Appends a message.
pub(super) fn add_command(
    topic: &str,
    data: &[u8],
    metadata: &RequestMetadata,
    trim: Trim,
    now: SystemTime,
) -> Cmd {
    let metadata = metadata_text(metadata);
    let mut command = Cmd::with_capacity(10, topic.len() + data.len() + metadata.len() + 64);
    command.arg("XADD").arg(topic);
    match trim {
        Trim::No => {}
        Trim::MaxLength(length) => {
            command.arg("MAXLEN").arg("~").arg(length);
        }
        Trim::Age(age) => {
            let oldest = now
                .checked_sub(age)
                .and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok())
                .unwrap_or_default();
            command.arg("MINID").arg("~").arg(format!("{}-1", oldest.as_millis()));
        }
    }
    command.arg("*").arg("data").arg(data).arg("metadata").arg(&*metadata);
    command
}

/// As JSON, sorted.
fn metadata_text(metadata: &RequestMetadata) -> Cow<'static, [u8]> {
    if metadata.is_empty() {
        return Cow::Borrowed(b"{}");
    }
    let sorted: BTreeMap<_, _> = metadata.iter().collect();
    serde_json::to_vec(&sorted).map_or(Cow::Borrowed(b"{}"), Cow::Owned)
}

/// An entry of a stream.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) message: Message,
}

/// Entries of the one stream that was read; nothing came when `Nil`.
pub(super) fn read_entries(topic: &str, answer: Value) -> Vec<Entry> {
    let streams = match answer {
        Value::Array(streams) => streams,
        Value::Map(streams) => {
            return streams.into_iter().flat_map(|(_, entries)| entries_of(topic, entries).0).collect();
        }
        _ => return Vec::new(),
    };
    streams
        .into_iter()
        .filter_map(|stream| match stream {
            Value::Array(mut pair) => pair.pop(),
            _ => None,
        })
        .flat_map(|entries| entries_of(topic, entries).0)
        .collect()
}

/// Entries, and whether some are gone from the stream (servers before 7).
pub(super) fn entries_of(topic: &str, answer: Value) -> (Vec<Entry>, bool) {
    let Value::Array(items) = answer else { return (Vec::new(), false) };
    let total = items.len();
    let entries: Vec<_> = items.into_iter().filter_map(|item| entry_of(topic, item)).collect();
    let gone = entries.len() < total;
    (entries, gone)
}

fn entry_of(topic: &str, item: Value) -> Option<Entry> {
    let Value::Array(pair) = item else { return None };
    let mut pair = pair.into_iter();
    let id = text_of(pair.next()?)?;
    // A deleted entry has an id and no fields.
    let Value::Array(fields) = pair.next()? else { return None };
    let mut message = Message { topic: topic.to_owned(), ..Message::default() };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match bytes_of(name).as_deref() {
            Some(b"data") => message.data = bytes_of(value).unwrap_or_default().into(),
            Some(b"metadata") => message.metadata = metadata_of(&id, value),
            _ => {}
        }
    }
    Some(Entry { id, message })
}

fn metadata_of(id: &str, value: Value) -> RequestMetadata {
    let text = bytes_of(value).unwrap_or_default();
    if text == b"{}" {
        return RequestMetadata::new();
    }
    match serde_json::from_slice::<Option<HashMap<String, String>>>(&text) {
        Ok(metadata) => metadata.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(
                target: "dapr.contrib",
                "Redis PubSub: Could not extract metadata for Redis message {id}: {error}"
            );
            RequestMetadata::new()
        }
    }
}

/// A message that some consumer got and did not acknowledge.
pub(super) struct Pending {
    pub(super) id: String,
    pub(super) idle: Duration,
}

pub(super) fn pending_of(answer: Value) -> Vec<Pending> {
    let Value::Array(rows) = answer else { return Vec::new() };
    let rows = rows.into_iter().filter_map(|row| {
        let Value::Array(row) = row else { return None };
        let mut row = row.into_iter();
        let id = text_of(row.next()?)?;
        match row.nth(1)? {
            Value::Int(millis) => {
                Some(Pending { id, idle: Duration::from_millis(u64::try_from(millis).unwrap_or(0)) })
            }
            _ => None,
        }
    });
    rows.collect()
}

/// Acknowledges all of `ids`.
pub(super) fn ack_command(topic: &str, group: &str, ids: &[String]) -> Cmd {
    let mut command = cmd("XACK");
    command.arg(topic).arg(group).arg(ids);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Cmd) -> String {
        let words = command.args_iter().filter_map(|arg| match arg {
            redis::Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        Value::Array(vec![text(id), Value::Array(fields.iter().map(|f| text(f)).collect())])
    }

    #[test]
    fn publishing() {
        let metadata =
            RequestMetadata::from([("k".to_owned(), "v".to_owned()), ("a".to_owned(), String::new())]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let add = |trim| words(&add_command("t", b"x", &metadata, trim, now));
        assert_eq!(add(Trim::No), "XADD t * data x metadata {\"a\":\"\",\"k\":\"v\"}");
        assert_eq!(add(Trim::MaxLength(7)), "XADD t MAXLEN ~ 7 * data x metadata {\"a\":\"\",\"k\":\"v\"}");
        let aged = add(Trim::Age(Duration::from_secs(10)));
        assert_eq!(
            words(&add_command("t", b"", &RequestMetadata::new(), Trim::No, now)),
            "XADD t * data  metadata {}"
        );
        assert_eq!(aged, "XADD t MINID ~ 90000-1 * data x metadata {\"a\":\"\",\"k\":\"v\"}");
    }

    #[test]
    fn reading() {
        let answer = Value::Array(vec![Value::Array(vec![
            text("t"),
            Value::Array(vec![
                entry("1-1", &["data", "x", "metadata", "{\"a\":\"b\"}"]),
                entry("1-2", &["metadata", "not json", "data", "y"]),
                entry("1-3", &["metadata", "null"]),
            ]),
        ])]);
        let entries = read_entries("t", answer);
        let ids: Vec<_> = entries.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids, ["1-1", "1-2", "1-3"]);
        assert_eq!(entries[0].message.metadata["a"], "b");
        assert_eq!(entries[1].message.data, "y");
        assert!(entries[1].message.metadata.is_empty() && entries[2].message.data.is_empty());
        assert!(read_entries("t", Value::Nil).is_empty());
    }

    #[test]
    fn deleted_entries_are_seen() {
        let (entries, gone) = entries_of("t", Value::Array(vec![entry("1-1", &["data", "x"]), Value::Nil]));
        assert_eq!((entries.len(), gone), (1, true));
    }
}
