use std::time::Duration;

use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Thing {
    metadata: Meta,
    #[serde(default)]
    value: u32,
}

impl Object for Thing {
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

fn thing(name: &str, version: &str, value: u32) -> Thing {
    let metadata = Meta { name: name.into(), namespace: "ns".into(), resource_version: version.into() };
    Thing { metadata, value }
}

fn words(changes: impl IntoIterator<Item = Change<Thing>>) -> Vec<String> {
    changes
        .into_iter()
        .map(|change| match change {
            Change::Created(t) => format!("+{}", t.metadata.name),
            Change::Updated(t) => format!("~{}", t.metadata.name),
            Change::Deleted(t) => format!("-{}", t.metadata.name),
        })
        .collect()
}

#[test]
fn lists_are_compared() {
    let mut cache = Cache::default();
    assert_eq!(words(cache.replace(vec![thing("a", "1", 0), thing("b", "", 0)])), ["+a", "+b"]);
    assert!(
        cache.replace(vec![thing("a", "1", 7), thing("b", "", 0)]).is_empty(),
        "same version, same content"
    );
    assert_eq!(words(cache.replace(vec![thing("a", "2", 7), thing("b", "", 1)])), ["~a", "~b"]);
    assert_eq!(words(cache.replace(vec![thing("c", "", 0)])), ["+c", "-a", "-b"]);
    assert!(cache.get("ns", "c").is_some() && cache.get("other", "c").is_none());
}

#[test]
fn events_are_applied() {
    let mut cache = Cache::default();
    assert_eq!(words(cache.apply(Event::Set(thing("a", "", 0)))), ["+a"]);
    assert_eq!(words(cache.apply(Event::Set(thing("a", "", 1)))), ["~a"], "added although known");
    assert!(cache.apply(Event::Deleted(thing("x", "", 0))).is_none(), "deleted although unknown");
    assert_eq!(words(cache.apply(Event::Deleted(thing("a", "", 1)))), ["-a"]);
    assert!(cache.apply(Event::Bookmark("9".into())).is_none());
}

#[test]
fn watches_that_deliver_go_on_and_others_slow_down() {
    let mut pace = Pace::default();
    let short = Duration::from_millis(10);
    assert_eq!(pace.watch_ended(short, 1, 0.0), Next::Watch);
    assert_eq!(pace.watch_ended(Duration::from_secs(5), 0, 0.0), Next::Watch);
    assert_eq!(pace.watch_ended(short, 0, 0.0), Next::List(Duration::from_millis(800)));
    assert_eq!(pace.watch_ended(short, 0, 0.0), Next::List(Duration::from_millis(1600)));
    assert_eq!(pace.failed(1.0), Next::List(Duration::from_secs(3)));
    for _ in 0..100 {
        assert_eq!(pace.failed(0.0), Next::List(Duration::from_secs(2)));
    }
    assert_eq!(pace.expired(), Next::List(Duration::ZERO));
    assert_eq!(pace.watch_ended(short, 1, 0.0), Next::Watch);
    assert_eq!(pace.failed(0.0), Next::List(Duration::from_millis(800)));
}
