//! The distributed lock over HTTP and gRPC, with SQLite and Redis.
#![forbid(unsafe_code)]

use dapr_blackbox::{Client, Options, Redis, Scratch, Sidecar, call_grpc, component};
use http::Method;
use prost::Message;
use serde_json::{Value, json};

const LOCK: &str = "/v1.0-alpha1/lock/locks";
const UNLOCK: &str = "/v1.0-alpha1/unlock/locks";

/// `TryLockRequest`; without the last field `UnlockRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    store_name: String,
    #[prost(string, tag = "2")]
    resource_id: String,
    #[prost(string, tag = "3")]
    lock_owner: String,
    #[prost(int32, tag = "4")]
    expiry_in_seconds: i32,
}

async fn try_lock(client: &Client, owner: &str) -> String {
    let body = json!({"resourceId": "door", "lockOwner": owner, "expiryInSeconds": 60});
    client.post(LOCK, &body).await.expect(200).text()
}

async fn unlock(client: &Client, owner: &str) -> String {
    client.post(UNLOCK, &json!({"resource_id": "door", "lock_owner": owner})).await.expect(200).text()
}

/// Two applications with `prefix` as key prefix, and what is shared.
async fn lock_and_unlock(scratch: &Scratch, name: &str, manifest: &str) {
    let resources = scratch.resources(name, &[manifest]);
    let options = |app: &str| Options::new(format!("{name}-{app}")).resources(resources.clone());
    let first = Sidecar::start(scratch, options("first")).await;
    let second = Sidecar::start(scratch, options("second")).await;
    assert_eq!(unlock(&first.client, "anna").await, r#"{"status":1}"#);
    assert_eq!(try_lock(&first.client, "anna").await, r#"{"success":true}"#);
    assert_eq!(try_lock(&second.client, "ben").await, r#"{"success":false}"#, "one lock for both");
    assert_eq!(unlock(&second.client, "ben").await, r#"{"status":2}"#);
    assert_eq!(unlock(&second.client, "anna").await, r#"{"status":0}"#);
    assert_eq!(try_lock(&second.client, "ben").await, r#"{"success":true}"#);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn two_applications_share_a_lock_on_sqlite() {
    let scratch = Scratch::new("lock-sqlite");
    let file = scratch.path().join("locks.db").to_str().expect("UTF-8").to_owned();
    let manifest = component("locks", "lock.sqlite", &json!({"connectionString": file, "keyPrefix": "none"}));
    lock_and_unlock(&scratch, "sqlite", &manifest).await;
}

#[tokio::test]
async fn two_applications_share_a_lock_on_redis() {
    let scratch = Scratch::new("lock-redis");
    let redis = Redis::start().await;
    let manifest =
        component("locks", "lock.redis", &json!({"redisHost": redis.address(), "keyPrefix": "name"}));
    lock_and_unlock(&scratch, "redis", &manifest).await;
}

async fn refused(client: &Client, path: &str, body: &str) -> (u16, String, String) {
    let answer = client.send(Method::POST, path, &[], body.to_owned()).await;
    let json: Value = answer.json();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("errorCode"), text("message"))
}

#[tokio::test]
async fn refusals_in_their_order() {
    let scratch = Scratch::new("lock-refusals");
    let none = Sidecar::start(&scratch, Options::new("lock-none")).await;
    let case = |status: u16, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
    let expiry = case(400, "ERR_MALFORMED_REQUEST", "ExpiryInSeconds is not positive in lock store locks");
    for body in ["", "{}", r#"{"expiryInSeconds":-1}"#] {
        assert_eq!(refused(&none.client, LOCK, body).await, expiry, "{body}");
    }
    let absent = case(500, "ERR_LOCK_STORE_NOT_CONFIGURED", "lock store is not configured");
    assert_eq!(refused(&none.client, LOCK, r#"{"expiryInSeconds":"5"}"#).await, absent);
    assert_eq!(refused(&none.client, UNLOCK, "").await, absent);
    for body in ["[]", "{", r#"{"expiryInSeconds":1.5}"#, r#"{"lockOwner":1}"#] {
        let (status, code, message) = refused(&none.client, LOCK, body).await;
        assert_eq!((status, code.as_str()), (400, "ERR_MALFORMED_REQUEST"), "{body}");
        assert!(message.starts_with("failed deserializing HTTP body: proto: "), "{message}");
    }
    none.stop().await;

    let resources = scratch.resources(
        "resources",
        &[&component("locks", "lock.sqlite", &json!({"connectionString": ":memory:"}))],
    );
    let some = Sidecar::start(&scratch, Options::new("lock-some").resources(resources)).await;
    let lock = |resource: &str, owner: &str| {
        json!({"resourceId": resource, "lockOwner": owner, "expiryInSeconds": 5}).to_string()
    };
    let malformed = |message: &str| case(400, "ERR_MALFORMED_REQUEST", message);
    assert_eq!(
        refused(&some.client, LOCK, &lock("", "")).await,
        malformed("ResourceId is empty in lock store locks")
    );
    assert_eq!(
        refused(&some.client, LOCK, &lock("r", "")).await,
        malformed("LockOwner is empty in lock store locks")
    );
    assert_eq!(
        refused(&some.client, "/v1.0-alpha1/lock/other", &lock("r", "o")).await,
        case(400, "ERR_LOCK_STORE_NOT_FOUND", "lock store other not found")
    );
    let illegal = "input key/keyPrefix 'a||b' can't contain '||'";
    assert_eq!(
        refused(&some.client, LOCK, &lock("a||b", "o")).await,
        case(500, "ERR_TRY_LOCK", &format!("failed to try acquiring lock: {illegal}"))
    );
    assert_eq!(
        refused(&some.client, UNLOCK, &lock("a||b", "o")).await,
        case(500, "ERR_UNLOCK", &format!("failed to release lock: {illegal}"))
    );

    let grpc = async |method: &str, store: &str, resource: &str, owner: &str, expiry: i32| {
        let request = Request {
            store_name: store.to_owned(),
            resource_id: resource.to_owned(),
            lock_owner: owner.to_owned(),
            expiry_in_seconds: expiry,
        };
        let path = format!("/dapr.proto.runtime.v1.Dapr/{method}");
        call_grpc(some.grpc_port, &path, &[], &request.encode_to_vec()).await.1
    };
    assert_eq!(grpc("TryLockAlpha1", "locks", "r", "o", 0).await, "3");
    assert_eq!(grpc("TryLockAlpha1", "locks", "", "o", 5).await, "3");
    assert_eq!(grpc("TryLockAlpha1", "other", "r", "o", 5).await, "3");
    assert_eq!(grpc("TryLockAlpha1", "locks", "a||b", "o", 5).await, "13");
    assert_eq!(grpc("TryLockAlpha1", "locks", "r", "o", 5).await, "0");
    assert_eq!(grpc("UnlockAlpha1", "locks", "r", "o", 0).await, "0");
    assert_eq!(grpc("UnlockAlpha1", "locks", "a||b", "o", 0).await, "13");
    some.stop().await;

    let resources = scratch.resources(
        "prefix",
        &[&component("locks", "lock.sqlite", &json!({"connectionString": ":memory:", "keyPrefix": "a||b"}))],
    );
    let output = Sidecar::spawn(&scratch, Options::new("lock-prefix").resources(resources)).failed().await;
    assert!(
        output.contains("failed to save lock keyprefix: input key/keyPrefix 'a||b' can't contain '||'"),
        "{output}"
    );
}
