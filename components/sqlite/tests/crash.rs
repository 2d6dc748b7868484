//! Processes that are killed at any time lose nothing that was acknowledged.
//!
//! Each test starts this very executable again with one of the `process_*`
//! tests, which do their work only when told a database by the environment.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::pubsub::{
    HandlerError, Message, MessageHandler, PubSub as _, PublishRequest, SubscribeRequest,
};
use dapr_components::state::{GetRequest, SetRequest, StateStore as _, Value};
use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_sqlite::{PubSub, StateStore};
use parking_lot::Mutex;

const DATABASE: &str = "DAPR_SQLITE_CRASH_TEST_DATABASE";
const NAME: &str = "DAPR_SQLITE_CRASH_TEST_NAME";
const TOPIC: &str = "orders";
const LIMIT: Duration = Duration::from_secs(60);

fn context(database: &str) -> InitContext {
    let properties = [
        ("connectionString", database),
        ("busyTimeout", "15s"),
        ("consumerID", "group"),
        ("redeliverInterval", "1s"),
    ];
    InitContext {
        name: "sqlite".into(),
        component_type: "sqlite".into(),
        version: "v1".into(),
        properties: Properties::new(properties).unwrap(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

/// A process under test and the lines that it has said.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    fn start(test: &str, database: &Path, name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DATABASE, database)
            .env(NAME, name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (said, out) = (lines.clone(), child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            // A line without its end was cut off by the kill.
            while out.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                if let Some((_, said_line)) = line.trim_end().split_once('@') {
                    said.lock().push(said_line.to_owned());
                }
                line.clear();
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// SIGKILL, then everything that was said before.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.lines.lock())
    }
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < limit, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn process_writes_state() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let name = std::env::var(NAME).unwrap();
    let store = StateStore::open(context(&database)).await.unwrap();
    for round in 0_u64.. {
        let sets = (0..4).map(|lane| {
            let (store, key) = (&store, format!("{name}-{round}-{lane}"));
            async move {
                let value = Value::Bytes(Bytes::from(key.clone()));
                if store.set(&SetRequest::new(&key, value)).await.is_ok() {
                    say(&key);
                }
            }
        });
        let [a, b, c, d] = sets.collect::<Vec<_>>().try_into().map_err(|_| ()).unwrap();
        tokio::join!(a, b, c, d);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_killed_writers_leave_a_sound_file_with_every_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let processes: Vec<_> =
        (0..10).map(|n| Process::start("process_writes_state", &path, &format!("p{n}"))).collect();
    wait_for("every writer writes", || processes.iter().all(|p| p.lines.lock().len() >= 20)).await;
    let mut acknowledged = Vec::new();
    for process in processes {
        acknowledged.extend(process.kill());
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..40))).await;
    }
    assert!(acknowledged.len() >= 200);

    let file = rusqlite::Connection::open(&path).unwrap();
    let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let store = StateStore::open(context(path.to_str().unwrap())).await.unwrap();
    for key in acknowledged {
        let request = GetRequest { key: key.clone(), ..Default::default() };
        let item = store.get(&request).await.unwrap();
        let item = item.unwrap_or_else(|| panic!("the acknowledged write of {key} is lost"));
        assert_eq!(&item.data[..], key.as_bytes());
    }
    store.close().await;
}

/// Hands every message to a function.
struct Each<F>(F);

#[async_trait]
impl<F: Fn(String) + Send + Sync + 'static> MessageHandler for Each<F> {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        // Long enough that a kill finds messages in the middle of it.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..5))).await;
        (self.0)(String::from_utf8(message.data.to_vec()).unwrap());
        Ok(())
    }
}

async fn subscribe(bus: &PubSub, stop: Shutdown, each: impl Fn(String) + Send + Sync + 'static) {
    let request = SubscribeRequest { topic: TOPIC.to_owned(), ..Default::default() };
    bus.subscribe(request, stop, Arc::new(Each(each))).await.unwrap();
}

async fn publish(bus: &PubSub, text: &str) -> bool {
    let request =
        PublishRequest { topic: TOPIC.to_owned(), data: Bytes::from(text.to_owned()), ..Default::default() };
    bus.publish(request).await.is_ok()
}

async fn bus_with_group(dir: &tempfile::TempDir) -> (PathBuf, PubSub) {
    let path = dir.path().join("bus.db");
    let bus = PubSub::open(context(path.to_str().unwrap())).await.unwrap();
    let stop = Shutdown::new();
    subscribe(&bus, stop.clone(), |_| {}).await;
    stop.trigger();
    (path, bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn process_subscribes() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let bus = PubSub::open(context(&database)).await.unwrap();
    subscribe(&bus, Shutdown::new(), |text| say(&text)).await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscribers_lose_no_acknowledged_publish() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bus) = bus_with_group(&dir).await;
    let mut seen = HashSet::new();
    let mut published = Vec::new();
    for life in 0..5 {
        let process = Process::start("process_subscribes", &path, "s");
        for n in 0..300 {
            let text = format!("{life}-{n}");
            if publish(&bus, &text).await {
                published.push(text);
            }
        }
        wait_for("the subscriber handles messages", || process.lines.lock().len() > 50).await;
        seen.extend(process.kill());
    }
    assert_eq!(published.len(), 1500);
    let last = Process::start("process_subscribes", &path, "s");
    let missing = || {
        let now: HashSet<String> = last.lines.lock().iter().cloned().collect();
        published.iter().filter(|text| !seen.contains(*text) && !now.contains(*text)).count()
    };
    wait_for("every acknowledged message arrives", || missing() == 0).await;
    last.kill();
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_publishes() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let name = std::env::var(NAME).unwrap();
    let bus = PubSub::open(context(&database)).await.unwrap();
    for n in 0_u64.. {
        let text = format!("{name}-{n}");
        if publish(&bus, &text).await {
            say(&text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publishers_lose_no_acknowledged_publish() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bus) = bus_with_group(&dir).await;
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let all = seen.clone();
    subscribe(&bus, Shutdown::new(), move |text| {
        all.lock().insert(text);
    })
    .await;
    let mut acknowledged = Vec::new();
    for life in 0..3 {
        let processes: Vec<_> =
            (0..3).map(|n| Process::start("process_publishes", &path, &format!("p{life}.{n}"))).collect();
        wait_for("publishers publish", || processes.iter().all(|p| p.lines.lock().len() >= 30)).await;
        acknowledged.extend(processes.into_iter().flat_map(Process::kill));
    }
    wait_for("every acknowledged message arrives", || {
        let seen = seen.lock();
        acknowledged.iter().all(|text| seen.contains(text))
    })
    .await;
    bus.close().await;
}
