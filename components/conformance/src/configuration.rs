//! Configuration stores. They are written to past Dapr, so the suite is given
//! a writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::configuration::{
    ConfigurationStore, Item, Items, Query, RequestMetadata, UpdateHandler,
};
use dapr_kernel::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Changes the store as its users do.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Adds or replaces an item.
    async fn set(&self, key: &str, value: &str, version: &str);
    async fn delete(&self, key: &str);
}

/// What a store promises and how long it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// An update about a deleted item is empty; otherwise it is what was
    /// deleted.
    pub empties_deleted: bool,
    pub subscribe_metadata: RequestMetadata,
    /// Longest wait for an update.
    pub update_limit: Duration,
    /// How long there must be nothing after the end of a subscription.
    pub silence: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            empties_deleted: true,
            subscribe_metadata: RequestMetadata::new(),
            update_limit: Duration::from_secs(30),
            silence: Duration::from_secs(1),
        }
    }
}

/// Items on their way from the store to a subscriber.
const QUEUE: usize = 256;

struct Collector(mpsc::Sender<Items>);

#[async_trait]
impl UpdateHandler for Collector {
    async fn handle(&self, changed: Items) {
        let _ = self.0.send(changed).await;
    }
}

struct Subscriber {
    name: &'static str,
    updates: mpsc::Receiver<Items>,
    stop: Shutdown,
    limit: Duration,
}

impl Subscriber {
    /// Exactly these changes come, in whatever portions.
    async fn expect(&mut self, mut expected: BTreeMap<String, Item>) {
        while !expected.is_empty() {
            let update = timeout(self.limit, self.updates.recv()).await;
            let Ok(Some(update)) = update else { panic!("{}: still expected {expected:?}", self.name) };
            for (key, item) in update {
                let wanted = expected.remove(&key);
                assert_eq!(wanted.as_ref(), Some(&item), "{}: update of {key}", self.name);
            }
        }
    }

    async fn expect_silence(&mut self, time: Duration) {
        sleep(time).await;
        let more = self.updates.try_recv();
        assert!(more.is_err(), "{}: nothing more, but {more:?}", self.name);
    }
}

/// Runs the whole suite on an empty store and closes it.
pub async fn run(store: Arc<dyn ConfigurationStore>, writer: &dyn Writer, config: &Config) {
    let first = keys("first");
    for key in &first {
        writer.set(key, &format!("{key}-value"), "1.0.0").await;
    }
    reads(&*store, &first).await;

    let second = keys("second");
    let both: Vec<String> = first.iter().chain(&second).cloned().collect();
    let mut some = subscribe(&*store, "subset", &first, config).await;
    let mut listed = subscribe(&*store, "listed", &both, config).await;
    let mut all = subscribe(&*store, "all", &[], config).await;

    let changed = write(writer, &first, "changed", "2.0.0").await;
    for subscriber in [&mut some, &mut listed, &mut all] {
        subscriber.expect(changed.clone()).await;
    }
    let added = write(writer, &second, "added", "1.0.0").await;
    for subscriber in [&mut listed, &mut all] {
        subscriber.expect(added.clone()).await;
    }
    some.expect_silence(config.silence).await;

    writer.delete(&first[0]).await;
    let before = changed[&first[0]].clone();
    let gone = if config.empties_deleted { Item::default() } else { before };
    for subscriber in [&mut some, &mut listed, &mut all] {
        subscriber.expect(BTreeMap::from([(first[0].clone(), gone.clone())])).await;
    }
    let left = store.get(&Query::default()).await.expect("get answers");
    assert!(!left.contains_key(&first[0]) && left.contains_key(&first[1]), "a deleted item is not read");

    some.stop.trigger();
    let again = write(writer, &first, "again", "3.0.0").await;
    for subscriber in [&mut listed, &mut all] {
        subscriber.expect(again.clone()).await;
    }
    listed.stop.trigger();
    all.stop.trigger();
    // An update that was on its way may still be handled.
    sleep(config.silence).await;
    write(writer, &first, "unheard", "4.0.0").await;
    for subscriber in [&mut some, &mut listed, &mut all] {
        subscriber.expect_silence(config.silence).await;
    }
    store.close().await;
}

async fn reads(store: &dyn ConfigurationStore, written: &[String]) {
    let get = async |keys: &[String]| {
        let query = Query { keys: keys.to_vec(), ..Query::default() };
        store.get(&query).await.expect("get answers")
    };
    let found = get(&written[..3]).await;
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        written[..3].iter().collect::<Vec<_>>(),
        "the keys asked for"
    );
    for (key, item) in &found {
        assert_eq!(item, &expected(&format!("{key}-value"), "1.0.0"), "item {key}");
    }
    assert_eq!(get(&[]).await.len(), written.len(), "no keys are all keys");
    assert!(get(&["missing".to_owned()]).await.is_empty(), "what does not exist is left out");
    let mixed = get(&["missing".to_owned(), written[0].clone()]).await;
    assert_eq!(mixed.keys().collect::<Vec<_>>(), [&written[0]], "what does not exist is left out");
}

async fn subscribe(
    store: &dyn ConfigurationStore,
    name: &'static str,
    keys: &[String],
    config: &Config,
) -> Subscriber {
    let (sender, updates) = mpsc::channel(QUEUE);
    let stop = Shutdown::new();
    let query = Query { keys: keys.to_vec(), metadata: config.subscribe_metadata.clone() };
    store.subscribe(query, stop.clone(), Arc::new(Collector(sender))).await.expect("subscribe answers");
    Subscriber { name, updates, stop, limit: config.update_limit }
}

async fn write(writer: &dyn Writer, keys: &[String], word: &str, version: &str) -> BTreeMap<String, Item> {
    let mut written = BTreeMap::new();
    for key in keys {
        let value = format!("{key}-{word}");
        writer.set(key, &value, version).await;
        written.insert(key.clone(), expected(&value, version));
    }
    written
}

fn keys(group: &str) -> Vec<String> {
    (0..10).map(|n| format!("{group}_{n}")).collect()
}

fn expected(value: &str, version: &str) -> Item {
    Item { value: value.to_owned(), version: version.to_owned(), metadata: RequestMetadata::new() }
}
