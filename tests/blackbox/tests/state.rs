//! The state API over HTTP on every state store of the default build.
#![forbid(unsafe_code)]

use std::time::Duration;

use dapr_blackbox::{Client, Options, Redis, Scratch, Sidecar, eventually};
use http::Method;
use serde_json::{Value, json};

fn store(kind: &str, metadata: &[(&str, &str)]) -> String {
    let metadata: Vec<_> =
        metadata.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "store"},
        "spec": {"type": kind, "version": "v1", "metadata": metadata},
    })
    .to_string()
}

const STORE: &str = "/v1.0/state/store";

async fn value(client: &Client, key: &str) -> Option<Value> {
    let answer = client.get(&format!("{STORE}/{key}")).await;
    match answer.status.as_u16() {
        204 => None,
        _ => Some(answer.expect(200).json()),
    }
}

async fn save_get_delete(client: &Client) {
    assert_eq!(value(client, "a").await, None);
    client
        .post(STORE, &json!([{"key": "a", "value": {"n": 1}}, {"key": "b", "value": "text"}]))
        .await
        .expect(204);
    let answer = client.get(&format!("{STORE}/a")).await.expect(200);
    assert_eq!(answer.json(), json!({"n": 1}));
    assert!(answer.headers.contains_key("etag"), "{:?}", answer.headers);
    assert_eq!(value(client, "b").await, Some(json!("text")));
    client.delete(&format!("{STORE}/a")).await.expect(204);
    client.delete(&format!("{STORE}/a")).await.expect(204);
    assert_eq!(value(client, "a").await, None);
}

async fn etags(client: &Client) {
    client.post(STORE, &json!([{"key": "e", "value": 1}])).await.expect(204);
    let answer = client.get(&format!("{STORE}/e")).await.expect(200);
    let old = answer.headers["etag"].to_str().expect("text").to_owned();
    client.post(STORE, &json!([{"key": "e", "value": 2, "etag": old}])).await.expect(204);
    let answer = client.post(STORE, &json!([{"key": "e", "value": 3, "etag": old}])).await.expect(409);
    assert_eq!(answer.json()["errorCode"], "ERR_STATE_SAVE", "{}", answer.text());
    let answer =
        client.send(Method::DELETE, &format!("{STORE}/e"), &[("if-match", &old)], "").await.expect(409);
    assert_eq!(answer.json()["errorCode"], "ERR_STATE_DELETE", "{}", answer.text());
    assert_eq!(value(client, "e").await, Some(json!(2)));
    // An item of the first-write kind is written again only with its ETag; which status says so
    // depends on the store (Redis cannot tell it from other failures of its script).
    let first_write = json!([{"key": "first", "value": 1, "options": {"concurrency": "first-write"}}]);
    client.post(STORE, &first_write).await.expect(204);
    let answer = client.post(STORE, &first_write).await;
    assert_eq!(answer.json()["errorCode"], "ERR_STATE_SAVE", "{} {}", answer.status, answer.text());
}

async fn bulk_get(client: &Client) {
    let items: Vec<_> = (0..5).map(|n| json!({"key": format!("bulk{n}"), "value": n})).collect();
    client.post(STORE, &items.into()).await.expect(204);
    let keys: Vec<_> = (0..6).map(|n| format!("bulk{n}")).collect();
    let answer =
        client.post(&format!("{STORE}/bulk"), &json!({"keys": keys, "parallelism": 3})).await.expect(200);
    let mut found: Vec<_> = answer.json().as_array().expect("a list").clone();
    found.sort_by_key(|item| item["key"].to_string());
    let data: Vec<_> = found.iter().map(|item| item.get("data").cloned().unwrap_or_default()).collect();
    assert_eq!(
        data,
        vec![json!(0), json!(1), json!(2), json!(3), json!(4), Value::Null],
        "{}",
        answer.text()
    );
}

/// `rolls_back`: an operation that cannot be undoes the others. Redis does not
/// (contract: components.md §3.3), the others do.
async fn transactions(client: &Client, rolls_back: bool) {
    client.post(STORE, &json!([{"key": "t1", "value": 1}, {"key": "t2", "value": 1}])).await.expect(204);
    let path = format!("{STORE}/transaction");
    let operations = json!({"operations": [
        {"operation": "upsert", "request": {"key": "t1", "value": 2}},
        {"operation": "delete", "request": {"key": "t2"}},
    ]});
    client.post(&path, &operations).await.expect(204);
    assert_eq!((value(client, "t1").await, value(client, "t2").await), (Some(json!(2)), None));
    let answer = client.get(&format!("{STORE}/t1")).await.expect(200);
    let old = answer.headers["etag"].to_str().expect("text").to_owned();
    client.post(STORE, &json!([{"key": "t1", "value": 3}])).await.expect(204);
    let operations = json!({"operations": [
        {"operation": "upsert", "request": {"key": "t3", "value": 1}},
        {"operation": "upsert", "request": {"key": "t1", "value": 4, "etag": old}},
    ]});
    let answer = client.post(&path, &operations).await;
    assert!(!answer.status.is_success(), "{} {}", answer.status, answer.text());
    assert_eq!(value(client, "t1").await, Some(json!(3)));
    if rolls_back {
        assert_eq!(value(client, "t3").await, None);
    }
}

async fn time_to_live(client: &Client) {
    let brief = json!([{"key": "ttl", "value": 1, "metadata": {"ttlInSeconds": "1"}}]);
    client.post(STORE, &brief).await.expect(204);
    eventually("the item expires", Duration::from_secs(30), || async {
        match value(client, "ttl").await {
            None => Ok(()),
            Some(value) => Err(value.to_string()),
        }
    })
    .await;
}

async fn everything(client: &Client, rolls_back: bool) {
    save_get_delete(client).await;
    etags(client).await;
    bulk_get(client).await;
    transactions(client, rolls_back).await;
    time_to_live(client).await;
}

/// Acknowledged writes are there after `kill -9` and a new start.
async fn survives_a_kill(scratch: &Scratch, options: Options) {
    let mut sidecar = Sidecar::start(scratch, options.clone()).await;
    for n in 0..50 {
        sidecar.client.post(STORE, &json!([{"key": format!("kept{n}"), "value": n}])).await.expect(204);
    }
    sidecar.process.kill().await;
    let sidecar = Sidecar::start(scratch, options).await;
    for n in 0..50 {
        assert_eq!(value(&sidecar.client, &format!("kept{n}")).await, Some(json!(n)));
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn in_memory() {
    let scratch = Scratch::new("state");
    let resources = scratch.resources("resources", &[&store("state.in-memory", &[])]);
    let sidecar = Sidecar::start(&scratch, Options::new("state").resources(resources)).await;
    everything(&sidecar.client, true).await;
    sidecar.stop().await;
}

#[tokio::test]
async fn sqlite() {
    let scratch = Scratch::new("state");
    let file = scratch.path().join("state.db");
    let manifest = store("state.sqlite", &[("connectionString", file.to_str().expect("UTF-8"))]);
    let options = Options::new("state").resources(scratch.resources("resources", &[&manifest]));
    let sidecar = Sidecar::start(&scratch, options.clone()).await;
    everything(&sidecar.client, true).await;
    sidecar.stop().await;
    survives_a_kill(&scratch, options).await;
}

#[tokio::test]
async fn redis() {
    let scratch = Scratch::new("state");
    let server = Redis::start().await;
    let manifest = store("state.redis", &[("redisHost", &server.address())]);
    let options = Options::new("state").resources(scratch.resources("resources", &[&manifest]));
    let sidecar = Sidecar::start(&scratch, options.clone()).await;
    everything(&sidecar.client, false).await;
    sidecar.stop().await;
    survives_a_kill(&scratch, options).await;
    drop(server);
}
