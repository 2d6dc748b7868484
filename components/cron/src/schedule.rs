//! The cron dialect of Dapr (components.md §5.1, workflow.md A4).
//!
//! Fields: seconds (optional in [`Dialect::BINDING`]), minutes, hours, day of
//! month, month, day of week; `*` and `?`, lists, ranges, steps and English
//! three-letter names. Descriptors: `@yearly`, `@annually`, `@monthly`,
//! `@weekly`, `@daily`, `@midnight`, `@hourly`, `@every <duration>`. A prefix
//! `TZ=<zone> ` or `CRON_TZ=<zone> ` picks the time zone.
//!
//! Everything is a pure function of its arguments, the local time zone included.

mod calendar;
mod fields;

use dapr_gocompat::duration;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub use calendar::Calendar;

/// What differs between the users of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Five fields are accepted and mean second 0.
    pub optional_seconds: bool,
    /// A time zone may stand before `@every`, where it has no effect.
    pub zone_before_every: bool,
}

impl Dialect {
    /// `bindings.cron`.
    pub const BINDING: Self = Self { optional_seconds: true, zone_before_every: true };
    /// Jobs and reminders.
    pub const SCHEDULER: Self = Self { optional_seconds: false, zone_before_every: false };
}

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// A fixed distance from one time to the next; as precise as it was given.
    Every(SignedDuration),
    Calendar(Calendar),
}

/// Why an expression is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("empty spec string")]
    Empty,
    #[error("provided bad location {name}: {reason}")]
    Zone { name: String, reason: String },
    #[error("a time zone has no meaning for '{0}': remove the prefix")]
    ZoneBeforeEvery(String),
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {descriptor}: {reason}")]
    Duration { descriptor: String, reason: String },
    #[error("expected {expected} fields, found {found}: [{fields}]")]
    FieldCount { expected: &'static str, found: usize, fields: String },
    #[error("{0}")]
    Field(String),
}

impl Schedule {
    /// `local` applies when the expression names no time zone.
    pub fn parse(text: &str, dialect: Dialect, local: &TimeZone) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        let (zone, spec) = split_zone(text, local)?;
        if let Some(every) = spec.strip_prefix("@every ") {
            if zone.is_some() && !dialect.zone_before_every {
                return Err(ParseError::ZoneBeforeEvery(spec.to_owned()));
            }
            return parse_every(spec, every);
        }
        let zone = zone.unwrap_or_else(|| local.clone());
        if spec.starts_with('@') {
            let fields = descriptor(spec).ok_or_else(|| ParseError::Descriptor(spec.to_owned()))?;
            return calendar(&fields, zone);
        }
        let mut fields: Vec<&str> = spec.split_whitespace().collect();
        if dialect.optional_seconds && fields.len() == 5 {
            fields.insert(0, "0");
        }
        let Ok(fields) = <[&str; 6]>::try_from(fields.as_slice()) else {
            return Err(ParseError::FieldCount {
                expected: if dialect.optional_seconds { "5 to 6" } else { "exactly 6" },
                found: fields.len(),
                fields: fields.join(" "),
            });
        };
        calendar(&fields, zone)
    }

    /// The first due time after `after`; `None` when there is none within five
    /// years, such as for February 30th.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(distance) => after.checked_add(*distance).ok(),
            Self::Calendar(calendar) => calendar.next(after),
        }
    }
}

fn parse_every(descriptor: &str, text: &str) -> Result<Schedule, ParseError> {
    match duration::parse_signed(text) {
        Ok(nanos) => Ok(Schedule::Every(SignedDuration::from_nanos(nanos))),
        Err(reason) => {
            Err(ParseError::Duration { descriptor: descriptor.to_owned(), reason: reason.to_string() })
        }
    }
}

fn calendar(fields: &[&str; 6], zone: TimeZone) -> Result<Schedule, ParseError> {
    let fields = fields::Fields::parse(fields).map_err(ParseError::Field)?;
    Ok(Schedule::Calendar(Calendar::new(fields, zone)))
}

fn descriptor(spec: &str) -> Option<[&'static str; 6]> {
    Some(match spec {
        "@yearly" | "@annually" => ["0", "0", "0", "1", "1", "*"],
        "@monthly" => ["0", "0", "0", "1", "*", "*"],
        "@weekly" => ["0", "0", "0", "*", "*", "0"],
        "@daily" | "@midnight" => ["0", "0", "0", "*", "*", "*"],
        "@hourly" => ["0", "0", "*", "*", "*", "*"],
        _ => return None,
    })
}

/// The zone of a prefix, if there is one, and the rest of the text.
fn split_zone<'a>(text: &'a str, local: &TimeZone) -> Result<(Option<TimeZone>, &'a str), ParseError> {
    let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok((None, text));
    };
    let (name, spec) = rest.split_once(' ').ok_or_else(|| ParseError::Zone {
        name: rest.to_owned(),
        reason: "a schedule must follow after a space".to_owned(),
    })?;
    Ok((Some(find_zone(name, local)?), spec.trim()))
}

fn find_zone(name: &str, local: &TimeZone) -> Result<TimeZone, ParseError> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        "Local" => return Ok(local.clone()),
        _ => {}
    }
    // The database is searched without regard to case; upstream reads a file by
    // this very name.
    match TimeZone::get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        _ => Err(ParseError::Zone { name: name.to_owned(), reason: format!("unknown time zone {name}") }),
    }
}

#[cfg(test)]
mod tests;
