//! Points in time as Go prints and reads them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::ParseError;
use crate::duration::quote_bytes;

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

/// `2006-01-02T15:04:05Z`, in UTC, fractions cut off.
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_in(time, Offset::UTC)
}

/// `2006-01-02T15:04:05.999999999Z`, in UTC, trailing zeros cut off.
pub fn rfc3339_nano(time: SystemTime) -> String {
    format(time, Offset::UTC, "%Y-%m-%dT%H:%M:%S%.f") + "Z"
}

/// Like [`rfc3339`] in the time zone of the machine: `2006-01-02T15:04:05+02:00`,
/// with `Z` where the offset is zero.
pub fn rfc3339_local(time: SystemTime) -> String {
    let offset = TimeZone::system().to_offset(timestamp(time));
    rfc3339_in(time, offset)
}

fn rfc3339_in(time: SystemTime, offset: Offset) -> String {
    let local = offset.to_datetime(timestamp(time));
    // Every event has such a time: no layout is looked at for it.
    if offset == Offset::UTC && local.year() >= 0 {
        let mut text = *b"0000-00-00T00:00:00Z";
        let year = [local.year() / 100, local.year() % 100].map(|n| n as i8);
        let clock = [local.month(), local.day(), local.hour(), local.minute(), local.second()];
        for (at, number) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(year.into_iter().chain(clock)) {
            text[at] += (number / 10) as u8;
            text[at + 1] += (number % 10) as u8;
        }
        return String::from_utf8_lossy(&text).into_owned();
    }
    let zone = if offset == Offset::UTC { "Z" } else { "%:z" };
    format(time, offset, &format!("%Y-%m-%dT%H:%M:%S{zone}"))
}

/// Like [`rfc3339_local`] with the fraction, trailing zeros cut off: the time of
/// a log line.
pub fn rfc3339_nano_local(time: SystemTime) -> String {
    let offset = TimeZone::system().to_offset(timestamp(time));
    let zone = if offset == Offset::UTC { "Z" } else { "%:z" };
    format(time, offset, &format!("%Y-%m-%dT%H:%M:%S%.f{zone}"))
}

/// Go's `Time.String` of a UTC time: `2006-01-02 15:04:05.999999999 +0000 UTC`.
pub fn date_string(time: SystemTime) -> String {
    format(time, Offset::UTC, "%Y-%m-%d %H:%M:%S%.f +0000 UTC")
}

fn format(time: SystemTime, offset: Offset, layout: &str) -> String {
    offset
        .to_datetime(timestamp(time))
        .to_zoned(offset.to_time_zone())
        .map_or_else(|_| String::new(), |zoned| zoned.strftime(layout).to_string())
}

/// Times beyond the year 9999 saturate: the formats have four digits for the year.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time)
        .unwrap_or_else(|_| if time < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX })
}

/// An RFC 3339 time, with Go's tolerance (one-digit hour, comma before the
/// fraction) and Go's messages.
pub fn parse_rfc3339(text: &str) -> Result<SystemTime, ParseError> {
    let mut at = Cursor { whole: text, rest: text };
    let year = at.number(4..=4, "2006")?;
    at.literal("-")?;
    let month = at.number(2..=2, "01")?;
    at.in_range(1..=12, month, "month")?;
    at.literal("-")?;
    let day = at.number(2..=2, "02")?;
    at.literal("T")?;
    let hour = at.number(1..=2, "15")?;
    at.in_range(0..=23, hour, "hour")?;
    at.literal(":")?;
    let minute = at.number(2..=2, "04")?;
    at.in_range(0..=59, minute, "minute")?;
    at.literal(":")?;
    let second = at.number(2..=2, "05")?;
    at.in_range(0..=59, second, "second")?;
    let nanos = at.fraction();
    let offset_seconds = at.zone()?;
    if !at.rest.is_empty() {
        return Err(at.error(&format!(": extra text: {}", quote_bytes(at.rest))));
    }
    let civil = jiff::civil::DateTime::new(
        year as i16,
        month as i8,
        day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        nanos as i32,
    )
    .map_err(|_| at.error(": day out of range"))?;
    let utc = Offset::UTC.to_timestamp(civil).ok();
    utc.and_then(|utc| utc.checked_sub(jiff::SignedDuration::from_secs(offset_seconds)).ok())
        .map(SystemTime::from)
        .ok_or_else(|| at.error(": year out of range"))
}

struct Cursor<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl Cursor<'_> {
    fn error(&self, what: &str) -> ParseError {
        ParseError::new(format!("parsing time {}{what}", quote_bytes(self.whole)))
    }

    fn mismatch(&self, element: &str) -> ParseError {
        let rest = quote_bytes(self.rest);
        self.error(&format!(" as {}: cannot parse {rest} as {}", quote_bytes(LAYOUT), quote_bytes(element)))
    }

    fn number(&mut self, width: std::ops::RangeInclusive<usize>, element: &str) -> Result<i64, ParseError> {
        let count = self.rest.bytes().take(*width.end()).take_while(u8::is_ascii_digit).count();
        if !width.contains(&count) {
            return Err(self.mismatch(element));
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits.bytes().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    }

    fn literal(&mut self, literal: &str) -> Result<(), ParseError> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.mismatch(literal))?;
        Ok(())
    }

    fn in_range(
        &self,
        range: std::ops::RangeInclusive<i64>,
        value: i64,
        what: &str,
    ) -> Result<(), ParseError> {
        if range.contains(&value) { Ok(()) } else { Err(self.error(&format!(": {what} out of range"))) }
    }

    /// Nanoseconds of an optional fraction; digits beyond the ninth are dropped.
    fn fraction(&mut self) -> i64 {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        self.rest = &after[count..];
        let digits = after[..count].bytes().chain(std::iter::repeat(b'0')).take(9);
        digits.fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, ParseError> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.mismatch(ELEMENT)),
        };
        let digit = |at: usize| bytes.get(at).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
        let (Some(h1), Some(h2), Some(b':'), Some(m1), Some(m2)) =
            (digit(1), digit(2), bytes.get(3), digit(4), digit(5))
        else {
            return Err(self.mismatch(ELEMENT));
        };
        let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
        self.in_range(0..=24, hours, "time zone offset hour")?;
        self.in_range(0..=60, minutes, "time zone offset minute")?;
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        let time = at(1_700_000_000, 120_000_000);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339_nano(time), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339_nano(at(1_700_000_000, 0)), "2023-11-14T22:13:20Z");
        assert_eq!(date_string(time), "2023-11-14 22:13:20.12 +0000 UTC");
        assert_eq!(date_string(at(1_700_000_000, 0)), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(date_string(at(0, 1)), "1970-01-01 00:00:00.000000001 +0000 UTC");
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(5500);
        assert_eq!(rfc3339_nano(before), "1969-12-31T23:59:54.5Z");
        assert_eq!(rfc3339(before), "1969-12-31T23:59:54Z");
    }

    proptest! {
        #[test]
        fn whole_seconds_look_the_same_without_a_layout(seconds in 0u64..260_000_000_000, offset in -48i8..=48) {
            let time = at(seconds, 999_999_999);
            prop_assert_eq!(rfc3339(time), format(time, Offset::UTC, "%Y-%m-%dT%H:%M:%S") + "Z");
            let offset = Offset::from_seconds(i32::from(offset) * 900).unwrap();
            let zone = if offset == Offset::UTC { "Z" } else { "%:z" };
            let wanted = format(time, offset, &format!("%Y-%m-%dT%H:%M:%S{zone}"));
            prop_assert_eq!(rfc3339_in(time, offset), wanted);
        }
    }

    #[test]
    fn local_times_name_the_same_moment() {
        let time = at(1_700_000_000, 0);
        assert_eq!(parse_rfc3339(&rfc3339_local(time)), Ok(time));
    }

    #[test]
    fn times_are_read() {
        let table = [
            ("2023-01-02T03:04:05Z", "2023-01-02T03:04:05Z"),
            ("2023-01-02T03:04:05.5+02:00", "2023-01-02T01:04:05.5Z"),
            ("2023-01-02T03:04:05,5Z", "2023-01-02T03:04:05.5Z"),
            ("2023-01-02T3:04:05Z", "2023-01-02T03:04:05Z"),
            ("2023-01-02T03:04:05-00:30", "2023-01-02T03:34:05Z"),
            ("2023-01-02T03:04:05+24:00", "2023-01-01T03:04:05Z"),
            ("2024-02-29T00:00:00.1234567899Z", "2024-02-29T00:00:00.123456789Z"),
        ];
        for (text, expected) in table {
            assert_eq!(parse_rfc3339(text).map(rfc3339_nano), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn bad_times_carry_the_text_of_go() {
        let layout = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        let table = [
            ("x", format!(" {layout} \"x\" as \"2006\"")),
            ("2023-1-02T03:04:05Z", format!(" {layout} \"1-02T03:04:05Z\" as \"01\"")),
            ("2023-01-02t03:04:05z", format!(" {layout} \"t03:04:05z\" as \"T\"")),
            ("2023-01-02 03:04:05Z", format!(" {layout} \" 03:04:05Z\" as \"T\"")),
            ("2023-01-02T03:04:05", format!(" {layout} \"\" as \"Z07:00\"")),
            ("2023-02-30T00:00:00Z", ": day out of range".to_owned()),
            ("2023-13-01T00:00:00Z", ": month out of range".to_owned()),
            ("2023-01-02T24:04:05Z", ": hour out of range".to_owned()),
            ("2023-01-02T03:60:05Z", ": minute out of range".to_owned()),
            ("2023-01-02T03:04:60Z", ": second out of range".to_owned()),
            ("2023-01-02T03:04:05Zx", ": extra text: \"x\"".to_owned()),
        ];
        for (text, tail) in table {
            let message = parse_rfc3339(text).unwrap_err().to_string();
            assert_eq!(message, format!("parsing time \"{text}\"{tail}"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0u64..253_402_300_799, nanos in 0u32..1_000_000_000) {
            let time = at(seconds, nanos);
            prop_assert_eq!(parse_rfc3339(&rfc3339_nano(time)), Ok(time));
        }

        #[test]
        fn any_text_is_answered(text in "[-0-9TZ:.+ \u{e9}]{0,30}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
