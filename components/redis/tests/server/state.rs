use std::sync::Arc;
use std::time::Duration;

use dapr_components::state::{
    Concurrency, Consistency, Error, GetRequest, Item, Operation, RequestMetadata, SetRequest, StateStore,
    TransactionRequest, Value,
};
use dapr_conformance::state::Config;
use dapr_conformance::state::request::{delete, set, with_etag, with_ttl};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::workers::Workers;
use dapr_redis::state::RedisStore;

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};

async fn open(server: &TestServer, items: &[(&str, &str)]) -> RedisStore {
    let host = server.address();
    let mut all = vec![("redisHost", host.as_str()), ("redisMinRetryInterval", "50")];
    all.extend(items);
    RedisStore::connect(&context("state.redis", &all)).await.unwrap()
}

fn first_write(mut request: SetRequest) -> SetRequest {
    request.concurrency = Concurrency::FirstWrite;
    request
}

async fn get(store: &RedisStore, key: &str) -> Option<Item> {
    store.get(&GetRequest { key: key.to_owned(), ..GetRequest::default() }).await.unwrap()
}

async fn etag(store: &RedisStore, key: &str) -> String {
    get(store, key).await.unwrap().etag.unwrap()
}

fn texts(value: redis::Value) -> Vec<String> {
    let mut all: Vec<String> = redis::from_redis_value(value).unwrap();
    all.sort();
    all
}

#[tokio::test]
async fn conformance() {
    let server = TestServer::start().await;
    let config = Config {
        transaction_rolls_back: false,
        ttl_expire_time: false,
        write_clears_ttl: false,
        bad_etag: "12345".to_owned(),
        ..Config::default()
    };
    let store: Arc<dyn StateStore> = Arc::new(open(&server, &[]).await);
    dapr_conformance::state::run(store, &config).await;
}

#[tokio::test]
async fn an_item_is_a_hash_of_three_fields() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    store.set(&set("plain", "a")).await.unwrap();
    assert_eq!(texts(server.run(&["HGETALL", "plain"]).await), ["1", "a", "data", "version"]);
    store.set(&first_write(set("first", "b"))).await.unwrap();
    let fields = texts(server.run(&["HGETALL", "first"]).await);
    assert_eq!(fields, ["0", "1", "b", "data", "first-write", "version"]);
}

#[tokio::test]
async fn etags_of_a_set() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    // an ETag for a missing key is taken
    store.set(&with_etag(set("k", "a"), "7")).await.unwrap();
    assert_eq!(etag(&store, "k").await, "1");
    store.set(&with_etag(set("k", "b"), "1")).await.unwrap();
    store.set(&with_etag(set("k", "c"), "")).await.unwrap();
    assert_eq!(etag(&store, "k").await, "3");
    assert!(matches!(store.set(&with_etag(set("k", "d"), "1")).await, Err(Error::EtagMismatch(_))));
    assert!(matches!(store.set(&with_etag(set("k", "d"), "x")).await, Err(Error::EtagInvalid(_))));
    let last = SetRequest { concurrency: Concurrency::LastWrite, ..with_etag(set("k", "e"), "1") };
    store.set(&last).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().data, "e");
}

#[tokio::test]
async fn the_first_write_marker_sticks() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    store.set(&set("k", "a")).await.unwrap();
    // on an unmarked key it works once
    store.set(&first_write(set("k", "b"))).await.unwrap();
    for request in [first_write(set("k", "c")), set("k", "c")] {
        let error = store.set(&request).await.unwrap_err();
        assert!(
            matches!(&error, Error::Other(text) if text.starts_with("failed to set key k: ")),
            "{error:?}"
        );
    }
    store.set(&with_etag(set("k", "d"), "2")).await.unwrap();
    assert_eq!(etag(&store, "k").await, "3");
}

#[tokio::test]
async fn deletes() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    store.set(&set("k", "a")).await.unwrap();
    let wrong = store.delete(&delete("k", Some("9"))).await;
    assert!(matches!(wrong, Err(Error::EtagMismatch(_))), "{wrong:?}");
    store.delete(&delete("k", Some("1"))).await.unwrap();
    store.delete(&delete("k", Some("1"))).await.unwrap();
    assert_eq!(get(&store, "k").await, None);
}

#[tokio::test]
async fn values_of_other_makers() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    server.run(&["SET", "plain", "text"]).await;
    let item = get(&store, "plain").await.unwrap();
    assert_eq!((&item.data[..], item.etag), (&b"text"[..], None));
    // a write replaces what is no hash
    store.set(&set("plain", "a")).await.unwrap();
    assert_eq!(etag(&store, "plain").await, "1");
    server.run(&["HSET", "other", "data", "x"]).await;
    let request = GetRequest { key: "other".to_owned(), ..GetRequest::default() };
    assert_eq!(
        store.get(&request).await.unwrap_err().to_string(),
        "required hash field 'data' or 'version' was not found"
    );
}

#[tokio::test]
async fn ttl_is_kept_set_and_removed() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    let ttl = async || redis::from_redis_value::<i64>(server.run(&["TTL", "k"]).await).unwrap();
    store.set(&with_ttl(set("k", "a"), "100")).await.unwrap();
    assert!((90..=100).contains(&ttl().await));
    store.set(&set("k", "b")).await.unwrap();
    assert!((90..=100).contains(&ttl().await), "a write without TTL keeps it");
    for none in ["-1", "0", "-5"] {
        store.set(&with_ttl(set("k", "c"), "100")).await.unwrap();
        store.set(&with_ttl(set("k", "c"), none)).await.unwrap();
        assert_eq!(ttl().await, -1, "{none}");
    }
    let error = store.set(&with_ttl(set("k", "c"), "foo")).await.unwrap_err().to_string();
    assert_eq!(error, "failed to parse ttl from metadata: strconv.ParseInt: parsing \"foo\": invalid syntax");
    let error = store.set(&with_ttl(with_etag(set("new", "c"), "1"), "9223372036854775807")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("failed to set key new ttl: ERR invalid expire time"), "{error}");
    let by_default = open(&server, &[("ttlInSeconds", "50")]).await;
    by_default.set(&set("k", "d")).await.unwrap();
    assert!((40..=50).contains(&ttl().await));
}

#[tokio::test]
async fn a_transaction_undoes_nothing() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    store.set(&set("b", "old")).await.unwrap();
    let request = TransactionRequest {
        operations: vec![
            Operation::Upsert(first_write(with_ttl(set("a", "1"), "100"))),
            Operation::Upsert(with_etag(set("b", "new"), "9")),
            Operation::Delete(delete("b", None)),
        ],
        metadata: RequestMetadata::new(),
    };
    let error = store.transact(&request).await.unwrap_err();
    assert!(matches!(&error, Error::Other(text) if text == "ERR failed to set key b"), "{error:?}");
    assert_eq!(texts(server.run(&["HGETALL", "a"]).await), ["1", "1", "data", "version"]);
    assert_eq!(get(&store, "b").await, None);
    let invalid = TransactionRequest {
        operations: vec![
            Operation::Upsert(set("c", "1")),
            Operation::Upsert(with_etag(set("b", "new"), "x")),
        ],
        metadata: RequestMetadata::new(),
    };
    assert!(matches!(store.transact(&invalid).await, Err(Error::EtagInvalid(_))));
    assert_eq!(get(&store, "c").await, None);
    store.transact(&TransactionRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_strong_write_waits_for_replicas() {
    let server = TestServer::start().await;
    let master = server.port().to_string();
    let replica = TestServer::start_with(&["--replicaof", "127.0.0.1", &master]).await;
    eventually("the replica is connected", async || {
        let info: String = redis::from_redis_value(server.run(&["INFO", "replication"]).await).unwrap();
        info.contains("connected_slaves:1") && info.contains("state=online")
    })
    .await;
    let store = open(&server, &[]).await;
    let strong = SetRequest { consistency: Consistency::Strong, ..set("k", "a") };
    store.set(&strong).await.unwrap();
    let copy: String = redis::from_redis_value(replica.run(&["HGET", "k", "data"]).await).unwrap();
    assert_eq!(copy, "a");
    let mismatch = store.set(&with_etag(strong, "9")).await;
    assert!(matches!(mismatch, Err(Error::EtagMismatch(_))), "{mismatch:?}");
}

#[tokio::test]
async fn a_restart_of_the_server_is_survived() {
    let mut server = TestServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = open(&server, &[]).await;
    store.set(&set("k", "a")).await.unwrap();
    server.kill();
    let request = GetRequest { key: "k".to_owned(), ..GetRequest::default() };
    assert!(store.get(&request).await.is_err());
    server.restart().await;
    assert_eq!(get(&store, "k").await.unwrap().data, "a");
    // the new process does not know the script's hash
    store.set(&set("k", "b")).await.unwrap();
    assert_eq!(etag(&store, "k").await, "2");
}

#[tokio::test]
async fn what_a_server_without_json_answers() {
    let server = TestServer::start().await;
    let store = open(&server, &[]).await;
    assert_eq!(
        store.query(b"{}", &RequestMetadata::new()).await.unwrap_err().to_string(),
        "redis-json server support is required for query capability"
    );
    let mut request = SetRequest::new("k", Value::Json("{\"a\":1}".into()));
    request.metadata.insert("contentType".to_owned(), "application/json".to_owned());
    store.set(&request).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().data, "{\"a\":1}");
    let host = server.address();
    let indexes = r#"[{"name":"i","indexes":[{"key":"a","type":"TEXT"}]}]"#;
    let context = context("state.redis", &[("redisHost", &host), ("queryIndexes", indexes)]);
    let error = RedisStore::connect(&context).await.err().unwrap().to_string();
    assert!(
        error.starts_with("redis store: error registering query schemas: ERR unknown command"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_fails_the_start() {
    let host = format!("127.0.0.1:{}", dapr_test_servers::free_port());
    let context = context("state.redis", &[("redisHost", &host), ("redisMaxRetries", "-1")]);
    let error = tokio::time::timeout(Duration::from_secs(10), RedisStore::connect(&context)).await.unwrap();
    let error = error.err().unwrap().to_string();
    assert!(error.starts_with(&format!("redis store: error connecting to redis at {host}: ")), "{error}");
}

/// A command that crosses to another thread wakes it twice.
#[tokio::test]
async fn each_worker_has_one_link() {
    let server = TestServer::start().await;
    let store = Arc::new(open(&server, &[]).await);
    store.set(&set("k", "v")).await.unwrap();
    let links = async || {
        let clients: String = redis::from_redis_value(server.run(&["CLIENT", "LIST"]).await).unwrap();
        // The command that asks came on one, too.
        clients.lines().count() - 1
    };
    assert_eq!(links().await, 1);
    let workers = Workers::start(3).unwrap();
    let tasks = TaskGroup::new(Shutdown::new()).with_workers(workers);
    // Places are held so that each task is on another worker.
    let (release, released) = tokio::sync::watch::channel(false);
    for _ in 0..3 {
        let (done, finished) = tokio::sync::oneshot::channel();
        let (store, mut released) = (store.clone(), released.clone());
        tasks.spawn_placed("calls", tasks.place(), async move {
            for _ in 0..5 {
                assert!(get(&store, "k").await.is_some());
            }
            done.send(()).unwrap();
            released.wait_for(|released| *released).await.unwrap();
        });
        finished.await.unwrap();
    }
    assert_eq!(links().await, 3);
    store.close().await;
    eventually("the links are closed", async || links().await == 0).await;
    release.send(true).unwrap();
    assert!(tasks.stop(Duration::from_secs(5)).await);
}
