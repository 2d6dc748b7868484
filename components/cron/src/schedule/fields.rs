//! Field syntax: text to sets of numbers.

/// The values of one field that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    bits: u64,
    /// The field was written as `*` or `?`: it does not restrict the day.
    pub(super) star: bool,
}

impl Set {
    pub(super) fn contains(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|v| self.bits & (1 << v) != 0)
    }

    /// Smallest member that is not below `from`.
    pub(super) fn at_least(self, from: i8) -> Option<i8> {
        let rest = self.bits & (u64::MAX << u32::try_from(from).unwrap_or(0));
        (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
    }
}

/// The six fields of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) second: Set,
    pub(super) minute: Set,
    pub(super) hour: Set,
    pub(super) day_of_month: Set,
    pub(super) month: Set,
    pub(super) day_of_week: Set,
}

struct Bounds {
    min: u64,
    max: u64,
    /// Names of `min`, `min + 1`, ...
    names: &'static [&'static str],
}

const SIXTY: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Fields {
    pub(super) fn parse(text: &[&str; 6]) -> Result<Self, String> {
        Ok(Self {
            second: parse_list(text[0], &SIXTY)?,
            minute: parse_list(text[1], &SIXTY)?,
            hour: parse_list(text[2], &HOURS)?,
            day_of_month: parse_list(text[3], &DAYS)?,
            month: parse_list(text[4], &MONTHS)?,
            day_of_week: parse_list(text[5], &WEEKDAYS)?,
        })
    }
}

/// Empty items are skipped; a list of nothing never matches.
fn parse_list(text: &str, bounds: &Bounds) -> Result<Set, String> {
    let mut all = Set { bits: 0, star: false };
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let set = parse_item(item, bounds)?;
        all = Set { bits: all.bits | set.bits, star: all.star || set.star };
    }
    Ok(all)
}

/// `range`, `range/step`; a single number with a step runs to the maximum.
fn parse_item(item: &str, bounds: &Bounds) -> Result<Set, String> {
    let parts: Vec<&str> = item.split('/').collect();
    let (range, step) = match parts[..] {
        [range] => (range, None),
        [range, step] => (range, Some(step)),
        _ => return Err(format!("too many slashes: {item}")),
    };
    let ends: Vec<&str> = range.split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        _ if star => (bounds.min, bounds.max),
        [one] => {
            let value = number_or_name(one, bounds)?;
            (value, value)
        }
        [low, high] => (number_or_name(low, bounds)?, number_or_name(high, bounds)?),
        _ => return Err(format!("too many hyphens: {item}")),
    };
    let step = step.map(number).transpose()?;
    if step.is_some() && ends.len() == 1 {
        end = bounds.max;
    }
    check_range(item, start, end, bounds)?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(format!("step of range should be a positive number: {item}"));
    }
    let mut bits = 0;
    let mut value = start;
    while value <= end {
        bits |= 1 << value;
        value = value.saturating_add(step);
    }
    Ok(Set { bits, star: star && step == 1 })
}

fn check_range(item: &str, start: u64, end: u64, bounds: &Bounds) -> Result<(), String> {
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {item}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {item}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {item}"));
    }
    Ok(())
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let named = (bounds.min..).zip(bounds.names).find(|(_, name)| text.eq_ignore_ascii_case(name));
    match named {
        Some((value, _)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(value) => {
            u64::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}"))
        }
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let reason = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let quoted = dapr_gocompat::quote::quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {reason}"))
        }
    }
}
