use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn parse(text: &str) -> Result<Schedule, ParseError> {
    Schedule::parse(text, Dialect::BINDING, &TimeZone::UTC)
}

/// The given number of due times after `from`, in RFC 3339.
fn dues(spec: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = parse(spec).unwrap();
    let mut at: Timestamp = from.parse().unwrap();
    let mut out = Vec::new();
    while out.len() < count {
        let Some(next) = schedule.next(at) else {
            out.push("never".to_owned());
            break;
        };
        out.push(next.to_string());
        at = next;
    }
    out
}

#[test]
fn fields_and_descriptors() {
    let from = "2012-07-09T14:59:59Z";
    let cases: &[(&str, &str)] = &[
        ("0 0/15 * * *", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("0 0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:20:00Z"),
        ("*/7 * * * * *", "2012-07-09T15:00:00Z"),
        ("58/2 * * * * *", "2012-07-09T15:00:58Z"),
        ("* * * * * *", "2012-07-09T15:00:00Z"),
        ("? ? ? ? ? ?", "2012-07-09T15:00:00Z"),
        ("*/5 * * * *", "2012-07-09T15:00:00Z"),
        ("0 0 1 * *", "2012-08-01T00:00:00Z"),
        ("0 0 31 * *", "2012-07-31T00:00:00Z"),
        ("0 0 29 2 *", "2016-02-29T00:00:00Z"),
        ("0 0 30 feb *", "never"),
        ("30 14 * jan,JUL Mon", "2012-07-16T14:30:00Z"),
        ("0 9 * * 1-5", "2012-07-10T09:00:00Z"),
        ("0 9 * * sat", "2012-07-14T09:00:00Z"),
        // both day fields restrict: either is enough
        ("0 0 1,15 * Sun", "2012-07-15T00:00:00Z"),
        ("0 0 13 * Wed", "2012-07-11T00:00:00Z"),
        // a star anywhere in a list keeps both necessary
        ("0 0 *,1 * Wed", "2012-07-11T00:00:00Z"),
        // a step above one takes the star away
        ("0 0 */10 * Wed", "2012-07-11T00:00:00Z"),
        ("0 0 1 */2 *", "2012-09-01T00:00:00Z"),
        (", * * * *", "never"),
        ("*-3 15 * * *", "2012-07-09T15:00:00Z"),
        ("@yearly", "2013-01-01T00:00:00Z"),
        ("@annually", "2013-01-01T00:00:00Z"),
        ("@monthly", "2012-08-01T00:00:00Z"),
        ("@weekly", "2012-07-15T00:00:00Z"),
        ("@daily", "2012-07-10T00:00:00Z"),
        ("@midnight", "2012-07-10T00:00:00Z"),
        ("@hourly", "2012-07-09T15:00:00Z"),
        ("@every 1h30m", "2012-07-09T16:29:59Z"),
        ("@every 300ms", "2012-07-09T14:59:59.3Z"),
        ("@every 0s", "2012-07-09T14:59:59Z"),
        ("TZ=Asia/Tokyo 0 9 * * *", "2012-07-10T00:00:00Z"),
        ("CRON_TZ=America/New_York   0 0 9 * * *", "2012-07-10T13:00:00Z"),
        ("TZ=UTC @daily", "2012-07-10T00:00:00Z"),
        ("TZ= @daily", "2012-07-10T00:00:00Z"),
        ("TZ=Asia/Tokyo @every 1s", "2012-07-09T15:00:00Z"),
    ];
    for (spec, expected) in cases {
        assert_eq!(dues(spec, from, 1), [*expected], "{spec}");
    }
}

#[test]
fn a_second_that_has_begun_is_over() {
    assert_eq!(dues("* * * * * *", "2012-07-09T15:00:00Z", 1), ["2012-07-09T15:00:01Z"]);
    assert_eq!(dues("* * * * * *", "2012-07-09T15:00:00.5Z", 1), ["2012-07-09T15:00:01Z"]);
    assert_eq!(dues("* * * * * *", "1969-12-31T23:59:58.5Z", 1), ["1969-12-31T23:59:59Z"]);
}

#[test]
fn every_keeps_the_fraction_of_the_time_before() {
    assert_eq!(
        dues("@every 1s500ms", "2024-01-01T00:00:00.25Z", 2),
        ["2024-01-01T00:00:01.75Z", "2024-01-01T00:00:03.25Z"]
    );
}

#[test]
fn clocks_going_forward_skip_what_does_not_exist() {
    // 2012-03-11 02:00 EST -> 03:00 EDT
    assert_eq!(dues("TZ=America/New_York 0 30 2 * * *", "2012-03-10T12:00:00Z", 1), ["2012-03-12T06:30:00Z"]);
    assert_eq!(
        dues("TZ=America/New_York 0 0 * * * *", "2012-03-11T06:00:00Z", 2),
        ["2012-03-11T07:00:00Z", "2012-03-11T08:00:00Z"]
    );
}

#[test]
fn clocks_going_back_fire_twice() {
    // 2012-11-04 02:00 EDT -> 01:00 EST
    assert_eq!(
        dues("TZ=America/New_York 0 30 1 4 11 ?", "2012-11-04T00:00:00Z", 3),
        ["2012-11-04T05:30:00Z", "2012-11-04T06:30:00Z", "2013-11-04T06:30:00Z"]
    );
}

#[test]
fn a_midnight_that_does_not_exist_does_not_lose_the_day() {
    // Beirut 2023-03-30 and Santiago 2023-09-03 begin at 01:00.
    assert_eq!(dues("TZ=Asia/Beirut 0 0 9 30 3 ?", "2023-03-20T00:00:00Z", 1), ["2023-03-30T06:00:00Z"]);
    assert_eq!(dues("TZ=America/Santiago 0 0 9 3 9 ?", "2023-08-20T00:00:00Z", 1), ["2023-09-03T12:00:00Z"]);
}

#[test]
fn clocks_going_back_over_midnight_do_not_repeat_a_time() {
    // St. John's went back from 00:01 to 23:01 of the day before.
    assert_eq!(
        dues("TZ=America/St_Johns 0 45 0 * * *", "2007-11-03T03:15:00Z", 2),
        ["2007-11-04T04:15:00Z", "2007-11-05T04:15:00Z"]
    );
}

#[test]
fn the_local_zone_applies_without_a_prefix() {
    let tokyo = Schedule::parse("0 9 * * *", Dialect::BINDING, &zone("Asia/Tokyo")).unwrap();
    let next = tokyo.next("2024-01-01T00:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(next.to_string(), "2024-01-02T00:00:00Z");
    assert_eq!(Schedule::parse("TZ=Local 0 9 * * *", Dialect::BINDING, &zone("Asia/Tokyo")).unwrap(), tokyo);
}

#[test]
fn what_is_refused() {
    let cases = [
        ("", "empty spec string"),
        ("invalid schedule", "expected 5 to 6 fields, found 2: [invalid schedule]"),
        ("* * * * * * *", "expected 5 to 6 fields, found 7: [* * * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("*/ * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
        ("@never", "unrecognized descriptor: @never"),
        ("@every", "unrecognized descriptor: @every"),
        ("TZ=Not/AZone * * * * *", "provided bad location Not/AZone: unknown time zone Not/AZone"),
        ("TZ=europe/rome * * * * *", "provided bad location europe/rome: unknown time zone europe/rome"),
        ("TZ=UTC", "provided bad location UTC: a schedule must follow after a space"),
    ];
    for (spec, expected) in cases {
        assert_eq!(parse(spec).unwrap_err().to_string(), expected, "{spec}");
    }
    let text = parse("@every soon").unwrap_err().to_string();
    assert!(text.starts_with("failed to parse duration @every soon: "), "{text}");
}

#[test]
fn the_scheduler_wants_six_fields_and_no_zone_before_every() {
    let scheduler = |text| Schedule::parse(text, Dialect::SCHEDULER, &TimeZone::UTC);
    assert!(scheduler("0 * * * * *").is_ok());
    assert_eq!(
        scheduler("* * * * *").unwrap_err().to_string(),
        "expected exactly 6 fields, found 5: [* * * * *]"
    );
    assert!(matches!(scheduler("CRON_TZ=Europe/Rome @every 1h"), Err(ParseError::ZoneBeforeEvery(_))));
    assert!(scheduler("CRON_TZ=Europe/Rome @daily").is_ok());
}
