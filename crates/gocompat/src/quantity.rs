//! Kubernetes resource quantities: `4Mi`, `5k`, `1.5Gi`, `100m`, `1e3`.

use crate::ParseError;

const FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";
/// Digits of the largest value that can matter; longer ones saturate.
const MAX_DIGITS: usize = 19;

/// Whole units (bytes, for sizes); a fraction is rounded away from zero, a
/// value beyond 64 bits saturates.
pub fn parse_quantity(text: &str) -> Result<i64, ParseError> {
    let parts = split(text)?;
    let magnitude = match scale(parts.suffix)? {
        Scale::Ten(exponent) => decimal(&parts, exponent),
        Scale::Two(exponent) => binary(&parts, exponent),
    };
    let magnitude = i64::try_from(magnitude).unwrap_or(i64::MAX);
    Ok(if parts.negative { -magnitude } else { magnitude })
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::new(FORMAT));
    }
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, mut rest) = unsigned.split_at(digits(unsigned));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let suffix = rest;
    let tail = rest.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(ParseError::new(FORMAT));
    }
    let whole = whole.trim_start_matches('0');
    Ok(Parts { negative: text.starts_with('-'), whole, fraction, suffix })
}

fn scale(suffix: &str) -> Result<Scale, ParseError> {
    Ok(match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse().ok());
            Scale::Ten(exponent.ok_or_else(|| ParseError::new(SUFFIX))?)
        }
    })
}

fn decimal(parts: &Parts<'_>, exponent: i32) -> u128 {
    let digits = format!("{}{}", parts.whole, parts.fraction);
    let point = parts.whole.len() as i64 + i64::from(exponent);
    let leading_zeros = digits.len() - digits.trim_start_matches('0').len();
    let (digits, point) = (&digits[leading_zeros..], point - leading_zeros as i64);
    if digits.is_empty() {
        return 0;
    }
    if point > MAX_DIGITS as i64 {
        return u128::MAX;
    }
    // Below one unit: something was asked for, so something is given.
    let Ok(point) = usize::try_from(point) else { return 1 };
    let kept = &digits[..point.min(digits.len())];
    let rest = &digits[kept.len()..];
    number(kept) * 10u128.pow((point - kept.len()) as u32) + u128::from(!is_zero(rest))
}

fn binary(parts: &Parts<'_>, exponent: u32) -> u128 {
    const FRACTION_DIGITS: usize = 18;
    if parts.whole.len() > MAX_DIGITS {
        return u128::MAX;
    }
    let (kept, rest) = parts.fraction.split_at(parts.fraction.len().min(FRACTION_DIGITS));
    let scaled = (number(kept) << exponent) + u128::from(!is_zero(rest));
    (number(parts.whole) << exponent) + scaled.div_ceil(10u128.pow(kept.len() as u32))
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|b| b == b'0')
}

fn number(digits: &str) -> u128 {
    digits.bytes().fold(0, |n, digit| n * 10 + u128::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read() {
        let table: &[(&str, i64)] = &[
            ("0", 0),
            ("000", 0),
            ("1", 1),
            ("-1", -1),
            ("+1", 1),
            ("4Mi", 4_194_304),
            ("4Ki", 4096),
            ("5k", 5000),
            ("1.5Gi", 1_610_612_736),
            ("100m", 1),
            ("-100m", -1),
            ("-1.5", -2),
            ("1.5", 2),
            ("1500m", 2),
            ("2000m", 2),
            ("0.5Ki", 512),
            ("1.0001Ki", 1025),
            ("1n", 1),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("7Ei", 8_070_450_532_247_928_832),
            ("8Ei", i64::MAX),
            ("16Ei", i64::MAX),
            ("-8Ei", -i64::MAX),
            ("9223372036854775807", i64::MAX),
            ("99999999999999999999", i64::MAX),
            ("1e2000000", i64::MAX),
            ("1e-3", 1),
            ("1e-20", 1),
            ("k", 0),
            ("1.", 1),
            ("1.G", 1_000_000_000),
            (".5", 1),
            ("00012", 12),
            ("12e6", 12_000_000),
            ("1Ti", 1_099_511_627_776),
            ("1Pi", 1_125_899_906_842_624),
            ("1.1Ki", 1127),
            ("123456789.123456789", 123_456_790),
            ("0.00", 0),
            ("0.0000000000000000000000001Ki", 1),
        ];
        for (text, value) in table {
            assert_eq!(parse_quantity(text), Ok(*value), "{text}");
        }
    }

    #[test]
    fn bad_quantities_say_what_is_wrong() {
        for text in ["", "1Kb", "1 Ki", " 1", "abc", "1.2.3", "0x10", "\u{e9}"] {
            assert_eq!(parse_quantity(text).unwrap_err().to_string(), FORMAT, "{text}");
        }
        for text in ["1K", "1e", "1e+", "1ee3", "--1", "1m1"] {
            assert_eq!(parse_quantity(text).unwrap_err().to_string(), SUFFIX, "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_themselves(value in -i64::MAX..=i64::MAX) {
            prop_assert_eq!(parse_quantity(&value.to_string()), Ok(value));
        }

        #[test]
        fn any_text_is_answered(text in "[-+0-9.a-zA-Z]{0,60}") {
            let _ = parse_quantity(&text);
        }
    }
}
