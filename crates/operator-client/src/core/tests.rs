use std::time::{Duration, Instant};

use super::*;

fn entry(name: &str, version: Option<u64>, value: &str) -> Entry<String> {
    Entry { name: name.to_owned(), version, value: value.to_owned() }
}

fn listed(entries: &[(&str, u64, &str)]) -> Vec<Entry<String>> {
    entries.iter().map(|(n, v, t)| entry(n, Some(*v), t)).collect()
}

fn known(collection: &Collection<String>) -> Vec<String> {
    collection.current().expect("listed")
}

#[test]
fn nothing_is_known_before_a_list() {
    let mut set = Collection::default();
    assert_eq!(set.current(), None);
    assert!(set.apply(EventKind::Put, entry("a", None, "1")));
    assert_eq!(set.current(), None);
    assert!(set.replace(Vec::new(), &[]), "the first list is news even if it is empty");
    assert_eq!(known(&set), [""; 0]);
    assert!(!set.replace(Vec::new(), &[]));
}

#[test]
fn events_change_what_lists_told() {
    let mut set = Collection::default();
    set.replace(listed(&[("a", 1, "a1"), ("b", 2, "b2")]), &[]);
    assert!(set.apply(EventKind::Put, entry("a", Some(3), "a3")));
    assert!(!set.apply(EventKind::Put, entry("a", Some(4), "a3")), "the same content is no news");
    assert!(set.apply(EventKind::Put, entry("c", Some(5), "c5")));
    assert!(set.apply(EventKind::Deleted, entry("b", Some(6), "b2")));
    assert!(!set.apply(EventKind::Deleted, entry("b", Some(6), "b2")));
    assert_eq!(known(&set), ["a3", "c5"]);
}

#[test]
fn an_event_that_waited_does_not_undo_a_newer_list() {
    let mut set = Collection::default();
    set.replace(listed(&[("a", 9, "new")]), &[]);
    assert!(!set.apply(EventKind::Put, entry("a", Some(8), "old")));
    assert!(!set.apply(EventKind::Deleted, entry("a", Some(7), "older")), "deleted and made again");
    assert_eq!(known(&set), ["new"]);
    // Out of scope: the deletion carries the object as it was.
    assert!(set.apply(EventKind::Deleted, entry("a", Some(9), "new")));
}

#[test]
fn without_versions_the_last_word_counts() {
    let mut set = Collection::default();
    set.replace(vec![entry("a", None, "1")], &[]);
    assert!(set.apply(EventKind::Put, entry("a", None, "0")));
    assert!(set.apply(EventKind::Deleted, entry("a", None, "0")));
}

#[test]
fn what_cannot_be_read_stays_as_it_was() {
    let mut set = Collection::default();
    set.replace(listed(&[("a", 1, "a1"), ("b", 1, "b1")]), &[]);
    assert!(!set.replace(listed(&[("b", 1, "b1")]), &["a".to_owned()]));
    assert_eq!(known(&set), ["a1", "b1"]);
    assert!(set.replace(listed(&[("b", 1, "b1")]), &[]));
}

#[test]
fn a_list_that_only_orders_differently_is_no_news() {
    let mut set = Collection::default();
    set.replace(listed(&[("a", 1, "a"), ("b", 1, "b")]), &[]);
    assert!(!set.replace(listed(&[("b", 1, "b"), ("a", 1, "a")]), &[]));
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn open_list_read_and_list_again() {
    let now = Instant::now();
    let mut follow = Follow::new(MINUTE, now);
    assert_eq!(follow.step(now, Input::Go, 0.0), Action::Open);
    assert_eq!(follow.step(now, Input::Opened, 0.0), Action::List);
    assert!(!follow.is_reconnected());
    let until = now + MINUTE;
    assert_eq!(follow.step(now, Input::Listed, 0.0), Action::Read { until });
    // Events do not put the next list off.
    assert_eq!(follow.step(now + MINUTE / 2, Input::Received, 0.0), Action::Read { until });
    assert_eq!(follow.step(until, Input::Due, 0.0), Action::List);
}

#[test]
fn a_stream_that_worked_is_opened_again_soon_and_lists_again() {
    let now = Instant::now();
    let mut follow = Follow::new(MINUTE, now);
    for input in [Input::Go, Input::Opened, Input::Listed, Input::Received] {
        follow.step(now, input, 0.5);
    }
    let Action::Pause(wait) = follow.step(now, Input::Ended(End::Lost), 0.5) else { panic!() };
    assert!(wait <= Duration::from_millis(100));
    assert_eq!(follow.step(now, Input::Go, 0.5), Action::Open);
    assert_eq!(follow.step(now, Input::Opened, 0.5), Action::List);
    assert!(follow.is_reconnected());
}

#[test]
fn pauses_grow_while_nothing_works_and_have_an_end() {
    let now = Instant::now();
    let mut follow = Follow::new(MINUTE, now);
    let mut last = Duration::ZERO;
    for _ in 0..50 {
        follow.step(now, Input::Go, 0.5);
        // Taken for open, and gone at once: that is no stream that worked.
        follow.step(now, Input::Opened, 0.5);
        follow.step(now, Input::ListFailed, 0.5);
        let Action::Pause(wait) = follow.step(now, Input::Ended(End::Lost), 0.5) else { panic!() };
        assert!(wait >= last && wait <= Duration::from_secs(15), "{wait:?}");
        last = wait;
    }
    assert_eq!(last, Duration::from_secs(15));
}

#[test]
fn an_operator_without_the_stream_is_listed() {
    let now = Instant::now();
    let mut follow = Follow::new(MINUTE, now);
    follow.step(now, Input::Go, 0.0);
    assert_eq!(follow.step(now, Input::Ended(End::Unknown), 0.0), Action::List);
    assert!(follow.is_without_stream());
    let until = now + MINUTE;
    assert_eq!(follow.step(now, Input::Listed, 0.0), Action::Read { until });
    assert_eq!(follow.step(until, Input::Due, 0.0), Action::List);
}

#[test]
fn a_failed_list_is_tried_again_while_the_stream_is_read() {
    let now = Instant::now();
    let mut follow = Follow::new(MINUTE, now);
    follow.step(now, Input::Go, 0.0);
    follow.step(now, Input::Opened, 0.0);
    let Action::Read { until } = follow.step(now, Input::ListFailed, 0.5) else { panic!() };
    assert!(until > now && until <= now + Duration::from_secs(1));
}
