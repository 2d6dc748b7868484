//! Documents encrypted and decrypted over HTTP, and state that is unreadable
//! where it is stored.
#![forbid(unsafe_code)]

use dapr_blackbox::{Answer, Client, Options, Scratch, Sidecar, component, component_document};
use http::Method;
use serde_json::{Value, json};

const KEY: &str = "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU";

fn with_secrets(mut component: Value) -> String {
    component["auth"] = json!({"secretStore": "secrets"});
    component.to_string()
}

async fn call(client: &Client, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    client.send(Method::PUT, &format!("/v1.0-alpha1/crypto/{path}"), headers, body).await
}

#[tokio::test]
async fn documents_come_back_whatever_their_length() {
    let scratch = Scratch::new("crypto");
    let keys = scratch.path().join("keys");
    std::fs::create_dir(&keys).expect("folder");
    std::fs::write(keys.join("raw"), [5; 32]).expect("key");
    let set = json!({"keys": [{"kty": "oct", "kid": "id", "k": KEY}]}).to_string();
    let resources = scratch.resources(
        "resources",
        &[
            &component("folder", "crypto.dapr.localstorage", &json!({"path": keys})),
            &component("set", "crypto.dapr.jwks", &json!({"jwks": set})),
        ],
    );
    let sidecar = Sidecar::start(&scratch, Options::new("crypto").resources(resources)).await;
    let client = &sidecar.client;
    for length in [0, 1, 65535, 65536, 65537, 3_000_000] {
        let plain: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
        for cipher in ["", "chacha20-poly1305"] {
            let headers = [
                ("dapr-key-name", "raw"),
                ("dapr-key-wrap-algorithm", "aes"),
                ("dapr-data-encryption-cipher", cipher),
                ("dapr-decryption-key-name", "id"),
            ];
            let sealed = call(client, "folder/encrypt", &headers, plain.clone()).await.expect(200);
            assert_eq!(sealed.headers["content-type"], "application/octet-stream");
            assert!(
                sealed.body.starts_with(b"dapr.io/enc/v1\n{\"k\":\"id\",\"kw\":1,"),
                "{:?}",
                &sealed.body[..40]
            );
            // The same key under another name, at another provider.
            let opened = call(client, "set/decrypt", &[], sealed.body.to_vec()).await.expect(200);
            assert!(opened.body == plain, "{length} bytes with {cipher:?}");
        }
    }
    for (path, headers, body, status, message) in [
        ("none/decrypt", [("x", "")], "", 400, "crypto provider none not found"),
        (
            "folder/encrypt",
            [("dapr-key-name", "raw")],
            "",
            400,
            "invalid request: missing header 'dapr-key-wrap-algorithm'",
        ),
        (
            "folder/decrypt",
            [("x", "")],
            "no document",
            500,
            "failed to perform operation: invalid header: scheme name not found",
        ),
    ] {
        let answer = call(client, path, &headers, body.into()).await.expect(status);
        assert_eq!(answer.json()["message"], message);
    }
    let metadata = client.get("/v1.0/metadata").await.expect(200).json();
    assert!(metadata["components"].as_array().expect("list").iter().any(|c| c["type"] == "crypto.dapr.jwks"));
    sidecar.stop().await;
}

#[tokio::test]
async fn state_is_encrypted_with_keys_that_can_be_rotated() {
    let scratch = Scratch::new("encryption");
    let secrets = json!({"old": "0a".repeat(16), "new": "0b".repeat(32)}).to_string();
    let secrets = scratch.write("secrets.json", &secrets);
    let database = scratch.path().join("state.db");
    let store = |name: &str, keys: &[(&str, &str)]| {
        let mut metadata = json!({"connectionString": database, "keyPrefix": "none"});
        for (key, secret) in keys {
            metadata[key] = json!({"secretKeyRef": {"name": secret}});
        }
        with_secrets(component_document(name, "state.sqlite", &metadata))
    };
    let resources = scratch.resources(
        "resources",
        &[
            &component("secrets", "secretstores.local.file", &json!({"secretsFile": secrets})),
            &store("before", &[("primaryEncryptionKey", "old")]),
            &store("after", &[("primaryEncryptionKey", "new"), ("secondaryEncryptionKey", "old")]),
            &store("stranger", &[("primaryEncryptionKey", "new")]),
            &store("open", &[]),
        ],
    );
    let sidecar = Sidecar::start(&scratch, Options::new("encryption").resources(resources)).await;
    let client = &sidecar.client;
    let get = async |store: &str, key: &str| client.get(&format!("/v1.0/state/{store}/{key}")).await;
    client.post("/v1.0/state/before", &json!([{"key": "k", "value": "secret"}])).await.expect(204);
    let stored = get("open", "k").await.expect(200).text();
    assert!(stored.ends_with("||old") && !stored.contains("secret"), "{stored}");
    assert_eq!(get("before", "k").await.expect(200).text(), "secret");
    assert_eq!(get("after", "k").await.expect(200).text(), "secret");
    let answer = get("stranger", "k").await.expect(500);
    assert_eq!(answer.json()["errorCode"], "ERR_STATE_GET", "{}", answer.text());
    let operations =
        json!({"operations": [{"operation": "upsert", "request": {"key": "k", "value": {"n": 1}}}]});
    client.post("/v1.0/state/after/transaction", &operations).await.expect(204);
    assert!(get("open", "k").await.expect(200).text().ends_with("||new"));
    assert_eq!(get("stranger", "k").await.expect(200).text(), "map[n:1]");
    // A value that was never encrypted.
    client.post("/v1.0/state/open", &json!([{"key": "k", "value": "plain"}])).await.expect(204);
    get("after", "k").await.expect(500);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_key_that_is_none_stops_the_component() {
    let scratch = Scratch::new("badkey");
    let secrets = scratch.write("secrets.json", r#"{"key": "not hexadecimal"}"#);
    let resources = scratch.resources(
        "resources",
        &[
            &component("secrets", "secretstores.local.file", &json!({"secretsFile": secrets})),
            &with_secrets(component_document(
                "store",
                "state.in-memory",
                &json!({"primaryEncryptionKey": {"secretKeyRef": {"name": "key"}}}),
            )),
        ],
    );
    let mut sidecar = Sidecar::spawn(&scratch, Options::new("badkey").resources(resources));
    let output = sidecar.failed().await;
    assert!(
        output.contains("failed to extract encryption key: encryption key 'key' is not hexadecimal"),
        "{output}"
    );
}
