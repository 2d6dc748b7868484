use bytes::Bytes;
use dapr_components::Properties;
use dapr_components::state::StateStore as _;
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;
use rusqlite::Connection;

use super::*;

async fn open(items: &[(&str, &str)]) -> Result<StateStore, String> {
    let context = InitContext {
        name: "store".into(),
        component_type: "state.sqlite".into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).unwrap(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    };
    StateStore::open(context).await.map_err(|e| e.to_string())
}

async fn on_disk(extra: &[(&str, &str)]) -> (StateStore, Connection, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut items = vec![("connectionString", path.to_str().unwrap())];
    items.extend(extra);
    let store = open(&items).await.unwrap();
    (store, Connection::open(&path).unwrap(), dir)
}

fn set(key: &str, value: Value) -> SetRequest {
    SetRequest::new(key, value)
}

fn bytes(text: &'static str) -> Value {
    Value::Bytes(Bytes::from_static(text.as_bytes()))
}

fn json(text: &'static str) -> Value {
    Value::Json(Bytes::from_static(text.as_bytes()))
}

async fn get(store: &StateStore, key: &str) -> Option<Item> {
    store.get(&GetRequest { key: key.into(), ..Default::default() }).await.unwrap()
}

#[tokio::test]
async fn the_layout_on_disk_is_the_shared_one() {
    let (store, file, _dir) = on_disk(&[]).await;
    store.set(&set("bin", bytes("hi"))).await.unwrap();
    let mut request = set("txt", json(r#"{"a":1}"#));
    request.concurrency = Concurrency::FirstWrite;
    request.metadata.insert("ttlInSeconds".into(), "100".into());
    store.set(&request).await.unwrap();

    let columns: Vec<String> = file
        .prepare("SELECT name || ' ' || type FROM pragma_table_info('state') ORDER BY cid")
        .unwrap()
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        columns,
        [
            "key TEXT",
            "value TEXT",
            "is_binary BOOLEAN",
            "etag TEXT",
            "expiration_time TIMESTAMP",
            "update_time TIMESTAMP"
        ]
    );
    let row = |key: &str| -> (String, i64, i64, Option<String>, String) {
        file.query_row(
            "SELECT value, is_binary, length(etag), expiration_time, update_time FROM state WHERE key = ?",
            [key],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)),
        )
        .unwrap()
    };
    let (value, is_binary, etag, expires, updated) = row("bin");
    assert_eq!((value.as_str(), is_binary, etag, expires, updated.len()), ("aGk=", 1, 36, None, 19));
    let (value, is_binary, _, expires, _) = row("txt");
    assert_eq!((value.as_str(), is_binary, expires.unwrap().len()), (r#"{"a":1}"#, 0, 19));
    let level: String =
        file.query_row("SELECT value FROM metadata WHERE key = 'migrations'", [], |r| r.get(0)).unwrap();
    assert_eq!(level, "1");
    let mode: String = file.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn tables_that_exist_already_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch(
        "CREATE TABLE metadata (key text NOT NULL PRIMARY KEY, value text NOT NULL);
         INSERT INTO metadata VALUES('migrations','1');",
    )
    .unwrap();
    file.execute_batch(&statements::create_table("state")).unwrap();
    file.execute_batch(
        "INSERT INTO state VALUES ('a', '[1]', 0, 'e', NULL, CURRENT_TIMESTAMP);
         INSERT INTO state VALUES ('b', 'aGk=', 1, 'e', '2999-01-02 03:04:05', CURRENT_TIMESTAMP);",
    )
    .unwrap();
    let store = open(&[("connectionString", path.to_str().unwrap())]).await.unwrap();
    let item = get(&store, "a").await.unwrap();
    assert_eq!((&item.data[..], item.etag.as_deref()), (&b"[1]"[..], Some("e")));
    let item = get(&store, "b").await.unwrap();
    assert_eq!(
        (&item.data[..], item.metadata["ttlExpireTime"].as_str()),
        (&b"hi"[..], "2999-01-02T03:04:05Z")
    );
}

#[tokio::test]
async fn a_failed_item_leaves_the_rest_of_its_group_alone() {
    let (store, _file, _dir) = on_disk(&[]).await;
    let sets: Vec<_> = (0..200)
        .map(|n| {
            let mut request = set(&format!("k{n}"), bytes("v"));
            if n % 2 == 1 {
                request.etag = Some("wrong".into());
            }
            request
        })
        .collect();
    let Err(Error::Bulk(errors)) = store.bulk_set(&sets).await else { panic!("a bulk error expected") };
    assert_eq!(errors.len(), 100);
    for n in 0..200 {
        assert_eq!(get(&store, &format!("k{n}")).await.is_some(), n % 2 == 0, "k{n}");
    }
}

#[tokio::test]
async fn a_transaction_is_undone_as_a_whole() {
    let (store, _file, _dir) = on_disk(&[]).await;
    store.set(&set("b", bytes("old"))).await.unwrap();
    let mut stale = set("b", bytes("new"));
    stale.etag = Some("wrong".into());
    let request = TransactionRequest {
        operations: vec![Operation::Upsert(set("a", bytes("v"))), Operation::Upsert(stale)],
        ..Default::default()
    };
    let (other, failed) = (set("c", bytes("v")), store.transact(&request));
    let (failed, ok) = tokio::join!(failed, store.set(&other));
    assert_eq!(failed.unwrap_err(), Error::EtagMismatch(String::new()));
    ok.unwrap();
    assert!(get(&store, "a").await.is_none() && get(&store, "c").await.is_some());
    assert_eq!(&get(&store, "b").await.unwrap().data[..], b"old");
}

#[tokio::test]
async fn a_full_last_page_still_has_a_token() {
    let (store, _file, _dir) = on_disk(&[]).await;
    for key in ["a", "b"] {
        store.set(&set(key, bytes("v"))).await.unwrap();
    }
    let mut request = KeysLikeRequest { pattern: "%".into(), page_size: Some(2), continuation: None };
    let page = store.keys_like(&request).await.unwrap();
    assert_eq!(page.continuation.as_deref(), Some("2"));
    request.continuation = page.continuation;
    assert_eq!(store.keys_like(&request).await.unwrap(), KeysPage::default());
}

#[tokio::test]
async fn missing_keys_and_bad_ttls_are_refused() {
    let (store, _file, _dir) = on_disk(&[]).await;
    let text = |r: Result<(), Error>| r.unwrap_err().to_string();
    assert_eq!(text(store.set(&set("", bytes("v"))).await), "missing key in set option");
    assert_eq!(text(store.delete(&DeleteRequest::default()).await), "missing key in delete operation");
    assert_eq!(
        store.get(&GetRequest::default()).await.unwrap_err().to_string(),
        "missing key in get operation"
    );
    let mut request = set("k", bytes("v"));
    request.metadata.insert("ttlInSeconds".into(), "-2".into());
    assert_eq!(
        text(store.set(&request).await),
        "error parsing TTL: incorrect value for metadata 'ttlInSeconds': must be -1 or greater"
    );
}

#[tokio::test]
async fn cleanup_removes_expired_rows() {
    let (store, file, _dir) = on_disk(&[("cleanupInterval", "1s")]).await;
    file.execute_batch(
        "INSERT INTO state VALUES ('old', '1', 0, 'e', '2000-01-01 00:00:00', CURRENT_TIMESTAMP);
         INSERT INTO state VALUES ('new', '1', 0, 'e', NULL, CURRENT_TIMESTAMP);",
    )
    .unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    let keys =
        || -> String { file.query_row("SELECT group_concat(key) FROM state", [], |r| r.get(0)).unwrap() };
    while keys() != "new" {
        assert!(std::time::Instant::now() < limit, "expired rows stay: {}", keys());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last: i64 =
        file.query_row("SELECT count(*) FROM metadata WHERE key = 'last-cleanup'", [], |r| r.get(0)).unwrap();
    assert_eq!(last, 1);
    store.close().await;
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_then_refuses() {
    let (store, file, _dir) = on_disk(&[]).await;
    store.set(&set("k", bytes("v"))).await.unwrap();
    store.close().await;
    assert_eq!(store.set(&set("k", bytes("v"))).await.unwrap_err().to_string(), "component is closed");
    let count: i64 = file.query_row("SELECT count(*) FROM state", [], |r| r.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn init_errors() {
    assert_eq!(open(&[]).await.err().unwrap(), "missing connection string");
    let error = open(&[("connectionString", ":memory:"), ("tableName", "a;b")]).await.err().unwrap();
    assert_eq!(error, "invalid identifier: a;b");
    let error = open(&[("connectionString", "/nonexistent/dir/a.db")]).await.err().unwrap();
    assert!(error.contains("unable to open database file"), "{error}");
}
