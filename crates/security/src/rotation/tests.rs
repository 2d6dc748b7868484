use super::*;

const HOUR: u64 = 3_600_000;
const SURE: Chance = Chance(0);

fn hourly(now: Time) -> Event {
    let validity = Validity { not_before: now, not_after: now.plus(HOUR) };
    Event::Issued(Terms { validity, token_expiry: None })
}

/// A rotation that was issued an hourly certificate at `now`.
fn running(now: Time) -> (Rotation, Effects) {
    let mut rotation = Rotation::new();
    assert!(rotation.step(now, SURE, Event::Started).request);
    let effects = rotation.step(now, SURE, hourly(now));
    assert!(effects.install);
    (rotation, effects)
}

/// Wakes as often as asked after `effects` of `now`, and says when the next
/// request was made.
fn next_request(rotation: &mut Rotation, mut effects: Effects, mut now: Time) -> Time {
    for _ in 0..10_000 {
        if effects.request {
            return now;
        }
        let wake = effects.wake.expect("it waits for something");
        assert!(wake > now && wake <= now.plus(LONGEST_SLEEP));
        now = wake;
        effects = rotation.step(now, SURE, Event::Woke);
    }
    panic!("no request");
}

#[test]
fn a_certificate_is_renewed_at_half_of_its_life() {
    let start = Time::from_seconds(1_000_000);
    let (mut rotation, effects) = running(start);
    assert_eq!(next_request(&mut rotation, effects, start), start.plus(HOUR / 2));
}

#[test]
fn chance_only_brings_the_renewal_forward() {
    let now = Time::from_seconds(1_000_000);
    let Event::Issued(terms) = hourly(now) else { unreachable!() };
    for chance in [0, 1, 30_000, u16::MAX] {
        let due = renewal(now, Chance(chance), terms);
        assert!(due <= now.plus(HOUR / 2) && due >= now.plus(HOUR / 2 - HOUR / EARLIER));
    }
}

#[test]
fn a_token_that_ends_sooner_is_renewed_sooner() {
    let now = Time::from_seconds(1_000_000);
    let Event::Issued(terms) = hourly(now) else { unreachable!() };
    let terms = Terms { token_expiry: Some(now.plus(HOUR / 2)), ..terms };
    assert_eq!(renewal(now, SURE, terms), now.plus(HOUR / 4));
}

#[test]
fn certificates_that_are_due_at_once_are_renewed_without_spinning() {
    let start = Time::from_seconds(1_000_000);
    let mut rotation = Rotation::new();
    rotation.step(start, SURE, Event::Started);
    let mut now = start;
    for _ in 0..10 {
        // X.509 has seconds: ten milliseconds are nothing.
        let validity = Validity { not_before: start, not_after: start };
        let effects = rotation.step(now, SURE, Event::Issued(Terms { validity, token_expiry: None }));
        let next = next_request(&mut rotation, effects, now);
        assert_eq!(next, now.plus(SHORTEST_LIFE));
        now = next;
    }
}

#[test]
fn a_clock_that_jumps_is_noticed() {
    let start = Time::from_seconds(1_000_000);
    let (mut rotation, _) = running(start);
    assert!(rotation.step(start.plus(10 * HOUR), SURE, Event::Woke).request);

    let (mut rotation, _) = running(start);
    let back = Time(start.0 - HOUR);
    assert_eq!(rotation.step(back, SURE, Event::Woke).wake, Some(back.plus(LONGEST_SLEEP)));
}

#[test]
fn a_clock_that_is_set_back_does_not_postpone_a_retry() {
    let start = Time::from_seconds(1_000_000);
    let (mut rotation, effects) = running(start);
    let due = next_request(&mut rotation, effects, start);
    let wake = rotation.step(due, SURE, Event::Failed(Failure::Unreachable)).wake.unwrap();
    assert_eq!(wake, due.plus(RETRY_PAUSE));
    // The sleep is over, and the clock says that it has hardly begun.
    assert!(rotation.step(Time(wake.0 - HOUR), SURE, Event::Woke).request);

    // Nor does something else that happens meanwhile.
    let (mut rotation, effects) = running(start);
    let due = next_request(&mut rotation, effects, start);
    rotation.step(due, SURE, Event::Failed(Failure::Unreachable));
    let back = Time(due.0 - HOUR);
    let effects = rotation.step(back, SURE, Event::AnchorsChanged { still_trusted: true });
    assert_eq!(effects.wake, Some(back.plus(RETRY_PAUSE)));
}

#[test]
fn the_first_identity_is_waited_for_while_the_authority_is_away() {
    let start = Time::from_seconds(1_000_000);
    let mut rotation = Rotation::new();
    rotation.step(start, SURE, Event::Started);
    let mut now = start;
    for round in 0..100 {
        let effects = rotation.step(now, SURE, Event::Failed(Failure::Unreachable));
        assert!(!effects.give_up);
        let next = next_request(&mut rotation, effects, now);
        let expected = if round < 5 { FIRST_DIAL_PAUSE << round } else { LONGEST_DIAL_PAUSE };
        assert_eq!(next.since(now), Duration::from_millis(expected));
        now = next;
    }
    assert!(rotation.step(now, SURE, hourly(now)).install);
}

#[test]
fn the_first_refusal_is_final_and_later_ones_are_not() {
    let start = Time::from_seconds(1_000_000);
    let mut rotation = Rotation::new();
    rotation.step(start, SURE, Event::Started);
    let effects = rotation.step(start, SURE, Event::Failed(Failure::Refused));
    assert_eq!(effects, Effects { give_up: true, ..Effects::default() });
    assert_eq!(rotation.step(start, SURE, Event::Woke), Effects::default());

    let (mut rotation, effects) = running(start);
    let due = next_request(&mut rotation, effects, start);
    for failure in [Failure::Refused, Failure::Unreachable] {
        let effects = rotation.step(due, SURE, Event::Failed(failure));
        assert!(!effects.give_up && !effects.install && rotation.has_identity());
        assert_eq!(next_request(&mut rotation, effects, due), due.plus(RETRY_PAUSE));
    }
}

#[test]
fn a_busy_authority_is_asked_five_times() {
    let now = Time::from_seconds(1_000_000);
    let mut rotation = Rotation::new();
    let mut requests = u32::from(rotation.step(now, SURE, Event::Started).request);
    loop {
        let effects = rotation.step(now, Chance(u16::MAX), Event::Failed(Failure::Busy));
        if effects.give_up {
            break;
        }
        let pause = next_request(&mut rotation, effects, now).since(now);
        assert!((45..=55).contains(&pause.as_millis()), "{pause:?}");
        requests += 1;
    }
    assert_eq!(requests, TRIES);
}

#[test]
fn a_certificate_of_a_removed_root_is_renewed_at_once() {
    let now = Time::from_seconds(1_000_000);
    let (mut rotation, _) = running(now);
    let kept = rotation.step(now, SURE, Event::AnchorsChanged { still_trusted: true });
    assert!(!kept.request && kept.wake.is_some());
    assert!(rotation.step(now, SURE, Event::AnchorsChanged { still_trusted: false }).request);
    // A further change while the answer is under way: that answer may be of the old root.
    rotation.step(now, SURE, Event::AnchorsChanged { still_trusted: false });
    let effects = rotation.step(now, SURE, hourly(now));
    assert!(effects.install && effects.request);
    let effects = rotation.step(now, SURE, hourly(now));
    assert!(effects.install && !effects.request);
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let now = Time::from_seconds(1_000_000);
    let (mut rotation, _) = running(now);
    let effects = rotation.step(now, SURE, hourly(now));
    assert!(!effects.install && effects.wake.is_some());
    let effects = rotation.step(now, SURE, Event::Failed(Failure::Refused));
    assert!(!effects.give_up && effects.wake.is_some());
}

#[test]
fn requests_never_overlap() {
    let now = Time::from_seconds(1_000_000);
    let mut rotation = Rotation::new();
    assert!(rotation.step(now, SURE, Event::Started).request);
    for event in [Event::Woke, Event::AnchorsChanged { still_trusted: false }] {
        assert!(!rotation.step(now.plus(HOUR), SURE, event).request);
    }
}
