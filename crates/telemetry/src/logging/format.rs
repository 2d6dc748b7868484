//! One log line, as text or as JSON.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use dapr_gocompat::json::{escape_str, write_go_json};
use dapr_gocompat::quote::quote;
use dapr_gocompat::time::rfc3339_nano_local;
use serde_json::Value;

use super::fields::{Fields, text};
use super::{Format, Level, Settings};

const LOG_TYPE: &str = "log";

/// A field's value: the line's own keys borrow, an event's fields carry a type.
enum Part<'a> {
    Text(&'a str),
    Value(&'a Value),
}

type Parts<'a> = Vec<(Cow<'a, str>, Part<'a>)>;

pub(super) fn line(
    settings: &Settings,
    time: SystemTime,
    level: Level,
    scope: &str,
    fields: &Fields,
) -> String {
    let time = rfc3339_nano_local(time);
    let mut parts: Parts<'_> = vec![
        ("instance".into(), Part::Text(&settings.instance)),
        ("scope".into(), Part::Text(scope)),
        ("type".into(), Part::Text(LOG_TYPE)),
        ("ver".into(), Part::Text(&settings.version)),
    ];
    if !settings.app_id.is_empty() {
        parts.push(("app_id".into(), Part::Text(&settings.app_id)));
    }
    for (key, value) in fields.iter() {
        let key = match key {
            // These belong to the line itself.
            "time" | "level" | "msg" => Cow::Owned(format!("fields.{key}")),
            key => Cow::Borrowed(key),
        };
        parts.retain(|(other, _)| *other != key);
        parts.push((key, Part::Value(value)));
    }
    match settings.format {
        Format::Text => as_text(parts, &time, level, fields.message()),
        Format::Json => as_json(parts, &time, level, fields.message()),
    }
}

fn as_text(mut parts: Parts<'_>, time: &str, level: Level, message: &str) -> String {
    parts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::with_capacity(256);
    let _ = write!(out, "time=\"{time}\" level={}", level.as_str());
    if !message.is_empty() {
        push_pair(&mut out, "msg", message);
    }
    for (key, part) in &parts {
        match part {
            Part::Text(value) => push_pair(&mut out, key, value),
            Part::Value(value) => push_pair(&mut out, key, &text(value)),
        }
    }
    out.push('\n');
    out
}

fn push_pair(out: &mut String, key: &str, value: &str) {
    out.push(' ');
    out.push_str(key);
    out.push('=');
    if value.bytes().all(is_plain) {
        out.push_str(value);
    } else {
        out.push_str(&quote(value));
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte)
}

fn as_json<'a>(mut parts: Parts<'a>, time: &'a str, level: Level, message: &'a str) -> String {
    parts.push(("time".into(), Part::Text(time)));
    parts.push(("level".into(), Part::Text(level.as_str())));
    parts.push(("msg".into(), Part::Text(message)));
    parts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::with_capacity(256);
    for (index, (key, part)) in parts.iter().enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        out.push_str(&escape_str(key));
        out.push(':');
        match part {
            Part::Text(value) => out.push_str(&escape_str(value)),
            Part::Value(value) => write_go_json(value, &mut out),
        }
    }
    out.push_str("}\n");
    out
}
