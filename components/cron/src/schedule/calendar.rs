use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::fields::Fields;

/// A search ends when the year is this much later than the starting point's.
const SEARCH_YEARS: i16 = 5;

/// Due whenever the wall clock of a time zone shows matching fields.
///
/// A wall clock time that is skipped when clocks go forward is not due; one
/// that occurs twice when they go back is due twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    fields: Fields,
    zone: TimeZone,
}

impl Calendar {
    pub(super) fn new(fields: Fields, zone: TimeZone) -> Self {
        Self { fields, zone }
    }

    /// First whole second after `after` that matches.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = Timestamp::from_second(after.as_second()).ok()?;
        if from <= after {
            from = from.checked_add(SignedDuration::from_secs(1)).ok()?;
        }
        let last_year = self.zone.to_datetime(from).year().checked_add(SEARCH_YEARS)?;
        // Between two changes of the offset the wall clock runs evenly, so that
        // the search there needs no time zone.
        loop {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|transition| transition.timestamp());
            let found = self.next_on_wall_clock(offset.to_datetime(from), last_year);
            let due = found.and_then(|wall| to_timestamp(offset, wall));
            match (due, change) {
                (Some(due), Some(change)) if due < change => return Some(due),
                (Some(due), None) => return Some(due),
                (None, None) => return None,
                (_, Some(change)) => from = change,
            }
            if self.zone.to_datetime(from).year() > last_year {
                return None;
            }
        }
    }

    fn next_on_wall_clock(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
        if self.matches_day(from.date())
            && let Some(time) = self.next_time(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let first = self.next_time(Time::midnight())?;
        let mut date = from.date().tomorrow().ok()?;
        while date.year() <= last_year {
            if !self.fields.month.contains(date.month()) {
                date = date.first_of_month().checked_add(1.month()).ok()?;
            } else if self.matches_day(date) {
                return Some(date.to_datetime(first));
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    /// When both day fields restrict, one of them is enough.
    fn matches_day(&self, date: Date) -> bool {
        let f = &self.fields;
        let by_month = f.day_of_month.contains(date.day());
        let by_week = f.day_of_week.contains(date.weekday().to_sunday_zero_offset());
        let day =
            if f.day_of_month.star || f.day_of_week.star { by_month && by_week } else { by_month || by_week };
        day && f.month.contains(date.month())
    }

    /// First matching time of day that is not before `from`.
    fn next_time(&self, from: Time) -> Option<Time> {
        let f = &self.fields;
        let (first_minute, first_second) = (f.minute.at_least(0)?, f.second.at_least(0)?);
        let hour = f.hour.at_least(from.hour())?;
        if hour > from.hour() {
            return Some(Time::constant(hour, first_minute, first_second, 0));
        }
        if let Some(minute) = f.minute.at_least(from.minute()) {
            if minute > from.minute() {
                return Some(Time::constant(hour, minute, first_second, 0));
            }
            if let Some(second) = f.second.at_least(from.second()) {
                return Some(Time::constant(hour, minute, second, 0));
            }
            if let Some(minute) = f.minute.at_least(minute + 1) {
                return Some(Time::constant(hour, minute, first_second, 0));
            }
        }
        let hour = f.hour.at_least(hour + 1)?;
        Some(Time::constant(hour, first_minute, first_second, 0))
    }
}

fn to_timestamp(offset: Offset, wall: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(wall).ok()
}
