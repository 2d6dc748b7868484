use std::sync::Arc;
use std::time::{Duration, Instant};

use dapr_components::state::{
    Concurrency, Error, GetRequest, Item, KeysLikeRequest, Operation, SetRequest, StateStore,
    TransactionRequest,
};
use dapr_conformance::harness::context;

use dapr_conformance::state::Config;
use dapr_conformance::state::request::{delete, set, with_etag, with_ttl};
use dapr_etcd::state::{EtcdStore, Layout};
use dapr_test_servers::{Etcd, free_port};

use crate::support::Identities;

fn open(endpoints: &str, layout: Layout, items: &[(&str, &str)]) -> EtcdStore {
    let all = [&[("endpoints", endpoints)], items].concat();
    EtcdStore::open(&context("state.etcd", &all), layout).unwrap()
}

fn asked(key: &str) -> GetRequest {
    GetRequest { key: key.to_owned(), ..GetRequest::default() }
}

async fn get(store: &EtcdStore, key: &str) -> Option<Item> {
    store.get(&asked(key)).await.unwrap()
}

fn transaction(operations: Vec<Operation>) -> TransactionRequest {
    TransactionRequest { operations, ..TransactionRequest::default() }
}

#[tokio::test]
async fn conformance() {
    let server = Etcd::start().await;
    for (layout, prefix, told) in [(Layout::Plain, "one", false), (Layout::Envelope, "two", true)] {
        let config = Config {
            ttl_expire_time: told,
            always_expire_time: told,
            minus_one_is_never: false,
            bad_etag: "12345".to_owned(),
            ..Config::default()
        };
        let store: Arc<dyn StateStore> =
            Arc::new(open(&server.endpoint(), layout, &[("keyPrefixPath", prefix)]));
        dapr_conformance::state::run(store, &config).await;
    }
}

#[tokio::test]
async fn what_lies_in_etcd() {
    let server = Etcd::start().await;
    let plain = open(&server.endpoint(), Layout::Plain, &[]);
    plain.set(&set("app||k", "a")).await.unwrap();
    assert_eq!(server.run(&["get", "--prefix", ""]), "/app||k\na\n");
    let envelope = open(&server.endpoint(), Layout::Envelope, &[("keyPrefixPath", "pre/")]);
    envelope.set(&set("k", "b")).await.unwrap();
    let lies = server.run(&["get", "pre//k", "--print-value-only"]);
    assert!(lies.starts_with("\n\u{1}b\u{12}"), "{lies:?}");
    server.run(&["put", "pre//broken", "\u{ff}"]);
    let error = envelope.get(&asked("broken")).await.unwrap_err();
    assert_eq!(error, Error::other("proto: cannot parse invalid wire-format data"));
}

#[tokio::test]
async fn etags_are_revisions() {
    let server = Etcd::start().await;
    let store = open(&server.endpoint(), Layout::Plain, &[("keyPrefixPath", "p")]);
    store.set(&set("k", "a")).await.unwrap();
    let etag = get(&store, "k").await.unwrap().etag.unwrap();
    let revision = server.run(&["get", "p/k", "-w", "fields"]);
    assert!(revision.contains(&format!("\"ModRevision\" : {etag}\n")), "{revision}");
    for wrong in ["bad", "1", "-1", "0", &format!("0{etag}")] {
        assert_eq!(
            store.set(&with_etag(set("k", "b"), wrong)).await.unwrap_err(),
            Error::EtagMismatch(format!("state etag not match for key=p/k: current={etag}, expect={wrong}"))
        );
    }
    assert_eq!(
        store.delete(&delete("none", Some("7"))).await.unwrap_err(),
        Error::EtagMismatch("state not exist or expired for key=p/none".to_owned())
    );
    let first = SetRequest { concurrency: Concurrency::FirstWrite, ..set("k", "b") };
    let exists = Error::EtagMismatch("item already exists and no etag was passed".to_owned());
    assert_eq!(store.set(&first).await.unwrap_err(), exists);
    store.set(&with_etag(set("k", "b"), "")).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().data, "b", "an empty ETag is none");
}

#[tokio::test]
async fn writers_with_one_etag_do_not_overwrite_each_other() {
    let server = Etcd::start().await;
    let store = open(&server.endpoint(), Layout::Plain, &[]);
    store.set(&set("k", "a")).await.unwrap();
    let etag = get(&store, "k").await.unwrap().etag.unwrap();
    let writes: Vec<_> = (0..20).map(|_| with_etag(set("k", "b"), &etag)).collect();
    let results = futures::future::join_all(writes.iter().map(|write| store.set(write))).await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "{results:?}");
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(Error::is_etag), "{results:?}");
}

#[tokio::test]
async fn leases() {
    let server = Etcd::start().await;
    let store = open(&server.endpoint(), Layout::Plain, &[]);
    store.set(&with_ttl(set("k", "a"), "100")).await.unwrap();
    assert!(server.run(&["lease", "list"]).starts_with("found 1 leases"));
    let error = store.set(&with_ttl(with_etag(set("k", "b"), "9"), "100")).await.unwrap_err();
    assert!(error.is_etag(), "{error:?}");
    let failing = transaction(vec![
        Operation::Upsert(with_ttl(set("x", "1"), "100")),
        Operation::Delete(delete("k", Some("9"))),
    ]);
    assert!(store.transact(&failing).await.unwrap_err().is_etag());
    assert!(server.run(&["lease", "list"]).starts_with("found 1 leases"), "writes that fail leave none");
    for (ttl, reason) in
        [("x", "strconv.ParseInt: parsing \"x\": invalid syntax"), ("-2", "must be -1 or greater")]
    {
        assert_eq!(
            store.set(&with_ttl(set("k", "b"), ttl)).await.unwrap_err(),
            Error::other(format!("incorrect value for metadata 'ttlInSeconds': {reason}"))
        );
    }
}

#[tokio::test]
async fn transactions() {
    let server = Etcd::start().await;
    let store = open(&server.endpoint(), Layout::Plain, &[("maxTxnOps", "200")]);
    assert_eq!(store.max_transaction_size(), Some(200));
    store.transact(&transaction(Vec::new())).await.unwrap();
    let same_key = transaction(vec![
        Operation::Upsert(set("k", "1")),
        Operation::Upsert(set("k", "2")),
        Operation::Upsert(set("gone", "1")),
        Operation::Delete(delete("gone", None)),
    ]);
    store.transact(&same_key).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().data, "2");
    assert_eq!(get(&store, "gone").await, None);
    let failing =
        transaction(vec![Operation::Upsert(set("a", "1")), Operation::Upsert(with_etag(set("k", "3"), "1"))]);
    let error = store.transact(&failing).await.unwrap_err();
    assert!(
        matches!(&error, Error::EtagMismatch(text) if text.starts_with("state etag not match for key=/k: "))
    );
    assert_eq!(get(&store, "a").await, None, "nothing is written");
    let many = |count: usize| {
        transaction((0..count).map(|n| Operation::Upsert(set(&format!("many-{n}"), "x"))).collect())
    };
    store.transact(&many(128)).await.unwrap();
    let error = store.transact(&many(129)).await.unwrap_err();
    assert_eq!(error, Error::other("etcdserver: too many operations in txn request"));
}

#[tokio::test]
async fn keys_of_one_transaction_are_listed_over_several_pages() {
    let server = Etcd::start().await;
    let store = open(&server.endpoint(), Layout::Plain, &[("keyPrefixPath", "list")]);
    store.set(&set("a-first", "x")).await.unwrap();
    let writes = (0..10).map(|n| Operation::Upsert(set(&format!("a-{n}"), "x"))).collect();
    store.transact(&transaction(writes)).await.unwrap();
    store.set(&set("b", "x")).await.unwrap();
    let mut request = KeysLikeRequest { pattern: "a%".to_owned(), page_size: Some(4), continuation: None };
    let mut pages = Vec::new();
    loop {
        let page = store.keys_like(&request).await.unwrap();
        pages.push(page.keys);
        request.continuation = page.continuation;
        if request.continuation.is_none() {
            break;
        }
    }
    assert_eq!(
        pages,
        [&["a-first", "a-0", "a-1", "a-2"][..], &["a-3", "a-4", "a-5", "a-6"], &["a-7", "a-8", "a-9"]]
    );
    let token = |text: &str| KeysLikeRequest { continuation: Some(text.to_owned()), ..request.clone() };
    let error = store.keys_like(&token("nope")).await.unwrap_err();
    assert_eq!(error, Error::other("invalid continue token"));
}

#[tokio::test]
async fn a_server_that_is_away() {
    let mut server = Etcd::start().await;
    let dead = format!("127.0.0.1:{}", free_port());
    let store = open(&dead, Layout::Plain, &[]);
    let begin = Instant::now();
    let error = store.set(&set("k", "a")).await.unwrap_err();
    assert_eq!(error, Error::other("couldn't set key /k: context deadline exceeded"));
    assert!(begin.elapsed() >= Duration::from_secs(4), "it waits for the server");

    let store = open(&format!("{dead},{}", server.endpoint()), Layout::Plain, &[]);
    store.set(&set("k", "a")).await.unwrap();
    server.kill();
    server.restart().await;
    assert_eq!(get(&store, "k").await.unwrap().data, "a", "connections are made again");
    store.set(&set("k", "b")).await.unwrap();
}

#[tokio::test]
async fn secured_connections() {
    let (known, stranger) = (Identities::new(), Identities::new());
    let server = Etcd::start_with(Some(&known.for_server())).await;
    let store = open(&server.endpoint(), Layout::Envelope, &known.metadata(&known.root));
    store.set(&set("k", "a")).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().data, "a");
    let store = open(&server.endpoint(), Layout::Envelope, &stranger.metadata(&known.root));
    let error = store.get(&asked("k")).await.unwrap_err().to_string();
    assert!(error.starts_with("couldn't get key /k: "), "{error}");
}
