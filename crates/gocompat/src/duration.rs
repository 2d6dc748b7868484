//! Durations in Go's notation: `1h30m`, `500ms`, `1.5s`.

use std::time::Duration;

use crate::ParseError;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Magnitude of the most negative duration; one more than the largest positive.
const MAX_MAGNITUDE: u64 = 1 << 63;

/// A duration that is not negative.
///
/// Use [`parse_signed`] where the contract gives negative values a meaning.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    non_negative(parse_signed(text)?, text)
}

/// Nanoseconds, possibly negative (Go `time.ParseDuration`).
pub fn parse_signed(text: &str) -> Result<i64, ParseError> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid(text));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (term, after) = parse_term(rest, text)?;
        total = total.checked_add(term).filter(|t| *t <= MAX_MAGNITUDE).ok_or_else(|| invalid(text))?;
        rest = after;
    }
    match (negative, total) {
        (true, MAX_MAGNITUDE) => Ok(i64::MIN),
        (true, total) => Ok(-(total as i64)),
        (false, MAX_MAGNITUDE) => Err(invalid(text)),
        (false, total) => Ok(total as i64),
    }
}

/// One number with its unit at the start of `rest`; returns nanoseconds and what follows.
fn parse_term<'a>(rest: &'a str, whole: &str) -> Result<(u64, &'a str), ParseError> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let int_len = digits(rest);
    let (int_part, mut rest) = rest.split_at(int_len);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    if int_part.is_empty() && fraction.is_empty() {
        return Err(invalid(whole));
    }
    let whole_units: u64 = match int_part {
        "" => 0,
        text => text.parse().ok().filter(|v| *v <= MAX_MAGNITUDE).ok_or_else(|| invalid(whole))?,
    };
    let unit_len = rest.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
    let (unit, rest) = rest.split_at(unit_len);
    if unit.is_empty() {
        return Err(ParseError::new(format!("time: missing unit in duration {}", quote_bytes(whole))));
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let (unit, whole) = (quote_bytes(unit), quote_bytes(whole));
        return Err(ParseError::new(format!("time: unknown unit {unit} in duration {whole}")));
    };
    let value = whole_units
        .checked_mul(*nanos)
        .and_then(|v| v.checked_add(fraction_nanos(fraction, *nanos)))
        .filter(|v| *v <= MAX_MAGNITUDE)
        .ok_or_else(|| invalid(whole))?;
    Ok((value, rest))
}

/// Nanoseconds of a decimal fraction of `unit`; digits beyond 64 bits carry no weight.
fn fraction_nanos(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0u64, 1f64);
    for digit in fraction.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
        match next.filter(|v| *v <= MAX_MAGNITUDE) {
            Some(next) => (value, scale) = (next, scale * 10.0),
            None => break,
        }
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Go duration, else whole seconds (components.md §1.4, standard decoder).
pub fn parse_duration_or_seconds(text: &str) -> Result<Duration, ParseError> {
    match parse_signed(text) {
        Ok(nanos) => non_negative(nanos, text),
        Err(error) => match text.parse::<i64>() {
            Ok(seconds) => non_negative(seconds.saturating_mul(1_000_000_000), text),
            Err(_) => Err(error),
        },
    }
}

/// Whole milliseconds, else Go duration (components.md §1.4, legacy decoder;
/// runtime.md §3.5).
pub fn parse_duration_or_millis(text: &str) -> Result<Duration, ParseError> {
    match text.parse::<i64>() {
        Ok(millis) => non_negative(millis.saturating_mul(1_000_000), text),
        Err(_) => parse_duration(text),
    }
}

/// Go's `Duration.String`: `5s`, `500ms`, `1m0s`, `1.5s`. Saturates at some 292 years.
pub fn format_duration(duration: Duration) -> String {
    format_signed(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// [`format_duration`] for signed nanoseconds.
pub fn format_signed(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let body = match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{magnitude}ns"),
        1_000..1_000_000 => decimal(magnitude, 1_000) + "\u{b5}s",
        1_000_000..1_000_000_000 => decimal(magnitude, 1_000_000) + "ms",
        _ => {
            let (minutes, rest) = (magnitude / 60_000_000_000, magnitude % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000) + "s";
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{body}")
}

/// `value / unit` as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

fn non_negative(nanos: i64, text: &str) -> Result<Duration, ParseError> {
    match u64::try_from(nanos) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => Err(ParseError::new(format!("time: negative duration {}", quote_bytes(text)))),
    }
}

fn invalid(text: &str) -> ParseError {
    ParseError::new(format!("time: invalid duration {}", quote_bytes(text)))
}

/// Quoting as Go's time package does it in its errors: every byte outside
/// printable ASCII becomes `\xNN`.
pub(crate) fn quote_bytes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', byte as char]),
            b' '..0x80 => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations_are_read() {
        let table: &[(&str, i64)] = &[
            ("0", 0),
            ("-0", 0),
            ("1s", 1_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1.0000000001s", 1_000_000_000),
            ("+5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.100000000000000000000h", 360_000_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(parse_signed(text), Ok(*nanos), "{text}");
        }
    }

    #[test]
    fn bad_durations_carry_the_text_of_go() {
        let table = [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            (".", "time: invalid duration \".\""),
            (".s", "time: invalid duration \".s\""),
            ("1", "time: missing unit in duration \"1\""),
            ("abc", "time: invalid duration \"abc\""),
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("1s ", "time: unknown unit \"s \" in duration \"1s \""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
            ("99999999999999999999h", "time: invalid duration \"99999999999999999999h\""),
            ("1\u{e9}", "time: unknown unit \"\\xc3\\xa9\" in duration \"1\\xc3\\xa9\""),
            ("1\"x", "time: unknown unit \"\\\"x\" in duration \"1\\\"x\""),
        ];
        for (text, message) in table {
            assert_eq!(parse_signed(text).unwrap_err().to_string(), message);
        }
        assert!(parse_duration("-1s").is_err());
    }

    #[test]
    fn plain_integers_by_decoder() {
        assert_eq!(parse_duration_or_seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration_or_seconds("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(parse_duration_or_millis("30"), Ok(Duration::from_millis(30)));
        assert_eq!(parse_duration_or_millis("30s"), Ok(Duration::from_secs(30)));
        assert!(parse_duration_or_seconds("-1").is_err());
        assert!(parse_duration_or_millis("1.5").is_err());
        assert!(parse_duration_or_seconds("soon").is_err());
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let table: &[(i64, &str)] = &[
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (1_500_000, "1.5ms"),
            (500_000_000, "500ms"),
            (1_500_000_000, "1.5s"),
            (1_234_567_890, "1.23456789s"),
            (5_000_000_000, "5s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (180_000_000_000, "3m0s"),
            (360_000_000_000_000, "100h0m0s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, text) in table {
            assert_eq!(format_signed(*nanos), *text);
        }
        assert_eq!(format_duration(Duration::MAX), "2562047h47m16.854775807s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<i64>()) {
            // Fractions pass through a float, which is exact below 2^53.
            let nanos = nanos >> 11;
            prop_assert_eq!(parse_signed(&format_signed(nanos)), Ok(nanos));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = parse_signed(&text);
        }
    }
}
