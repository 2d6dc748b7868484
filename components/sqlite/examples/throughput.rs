//! Rates of this crate's hot paths on a file in the given folder:
//! `cargo run --release -p dapr-sqlite --example throughput -- /tmp`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

const CALLERS: usize = 64;
const DURATION: Duration = Duration::from_secs(3);

fn context(path: PathBuf) -> InitContext {
    let path = path.to_string_lossy().into_owned();
    InitContext {
        name: "sqlite".into(),
        component_type: "sqlite".into(),
        version: "v1".into(),
        properties: Properties::new([("connectionString", path)]).unwrap_or_default(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Calls from `CALLERS` tasks for a while; operations per second.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> f64 {
    let tasks = TaskGroup::new(Shutdown::new());
    let (count, since) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    for _ in 0..CALLERS {
        let (call, count) = (call.clone(), count.clone());
        tasks.spawn("caller", async move {
            while since.elapsed() < DURATION {
                call(count.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    tasks.stop(DURATION * 4).await;
    count.load(Ordering::Relaxed) as f64 / since.elapsed().as_secs_f64()
}

struct Count(AtomicUsize);

#[async_trait]
impl MessageHandler for Count {
    async fn handle(&self, _message: Message) -> Result<(), HandlerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: throughput FOLDER")?);
    let dir = tempfile::tempdir_in(folder)?;

    let store = Arc::new(StateStore::open(context(dir.path().join("state.db"))).await?);
    let set = {
        let store = store.clone();
        rate(move |n| {
            let store = store.clone();
            async move {
                let value = Value::Bytes(Bytes::from_static(&[7; 100]));
                store.set(&SetRequest::new(format!("key{}", n % 1000), value)).await.expect("set");
            }
        })
        .await
    };
    println!("state set      {set:>9.0}/s");
    let get = {
        let store = store.clone();
        rate(move |n| {
            let store = store.clone();
            async move {
                let request = GetRequest { key: format!("key{}", n % 1000), ..Default::default() };
                store.get(&request).await.expect("get");
            }
        })
        .await
    };
    println!("state get      {get:>9.0}/s");
    store.close().await;

    let bus = Arc::new(PubSub::open(context(dir.path().join("bus.db"))).await?);
    let handler = Arc::new(Count(AtomicUsize::new(0)));
    let request = SubscribeRequest { topic: "t".to_owned(), ..Default::default() };
    bus.subscribe(request, Shutdown::new(), handler.clone()).await?;
    let since = Instant::now();
    let published = {
        let bus = bus.clone();
        rate(move |_| {
            let bus = bus.clone();
            async move {
                let data = Bytes::from_static(&[7; 300]);
                let request = PublishRequest { topic: "t".to_owned(), data, ..Default::default() };
                bus.publish(request).await.expect("publish");
            }
        })
        .await
    };
    let total = (published * since.elapsed().as_secs_f64()) as usize;
    while handler.0.load(Ordering::Relaxed) + CALLERS < total && since.elapsed() < DURATION * 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let delivered = handler.0.load(Ordering::Relaxed) as f64 / since.elapsed().as_secs_f64();
    println!("published      {published:>9.0}/s");
    println!("delivered      {delivered:>9.0}/s (until the last message)");

    // A component of its own gets its notices as another process does.
    let other = PubSub::open(context(dir.path().join("bus.db"))).await?;
    let mut waits = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (since, before) = (Instant::now(), handler.0.load(Ordering::Relaxed));
        let data = Bytes::from_static(b"x");
        other.publish(PublishRequest { topic: "t".to_owned(), data, ..Default::default() }).await?;
        while handler.0.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        waits.push(since.elapsed());
    }
    waits.sort_unstable();
    println!("publish to handler through another component: p50 {:?}, p99 {:?}", waits[100], waits[198]);
    other.close().await;
    bus.close().await;
    Ok(())
}
