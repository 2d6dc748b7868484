//! State (api.md §2.1, §3.3).

use dapr_blackbox::{Options, Scratch, Sidecar, component};
use dapr_wire::common::v1::{Etag, StateItem};
use dapr_wire::runtime::v1 as rt;
use serde_json::json;

use crate::ask::Ask;
use crate::fakes;

fn item(key: &str) -> StateItem {
    StateItem { key: key.into(), value: b"1".as_slice().into(), ..StateItem::default() }
}

fn save(store: &str, keys: &[&str]) -> rt::SaveStateRequest {
    let states = keys.iter().map(|key| item(key)).collect();
    rt::SaveStateRequest { store_name: store.into(), states }
}

fn get(store: &str, key: &str) -> rt::GetStateRequest {
    rt::GetStateRequest { store_name: store.into(), key: key.into(), ..Default::default() }
}

fn bulk(store: &str, keys: &[&str]) -> rt::GetBulkStateRequest {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    rt::GetBulkStateRequest { store_name: store.into(), keys, ..Default::default() }
}

fn delete(store: &str, key: &str) -> rt::DeleteStateRequest {
    rt::DeleteStateRequest { store_name: store.into(), key: key.into(), ..Default::default() }
}

fn delete_bulk(store: &str, keys: &[&str]) -> rt::DeleteBulkStateRequest {
    let states = keys.iter().map(|key| item(key)).collect();
    rt::DeleteBulkStateRequest { store_name: store.into(), states }
}

fn transaction(store: &str, operations: &[(&str, &str)]) -> rt::ExecuteStateTransactionRequest {
    let operation = |(kind, key): &(&str, &str)| rt::TransactionalStateOperation {
        operation_type: (*kind).into(),
        request: Some(item(key)),
    };
    let operations = operations.iter().map(operation).collect();
    rt::ExecuteStateTransactionRequest { store_name: store.into(), operations, ..Default::default() }
}

fn query(store: &str, query: &str) -> rt::QueryStateRequest {
    rt::QueryStateRequest { store_name: store.into(), query: query.into(), ..Default::default() }
}

fn upserts(keys: &[&str]) -> String {
    let operation = |key: &&str| json!({"operation": "upsert", "request": {"key": key, "value": 1}});
    json!({"operations": keys.iter().map(operation).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn no_store() {
    let scratch = Scratch::new("errors");
    let sidecar = Sidecar::start(&scratch, Options::new("errors")).await;
    let mut ask = Ask::new(&sidecar, "state-none");
    for (what, line, body) in [
        ("get", "GET /v1.0/state/none/k", ""),
        ("save", "POST /v1.0/state/none", "[]"),
        ("delete", "DELETE /v1.0/state/none/k", ""),
        ("bulk get", "POST /v1.0/state/none/bulk", "{}"),
        ("transaction", "POST /v1.0/state/none/transaction", "{}"),
        ("query", "POST /v1.0-alpha1/state/none/query", "{}"),
    ] {
        ask.http(what, line, body).await;
    }
    ask.grpc("get", "GetState", &get("none", "k")).await;
    ask.grpc("save", "SaveState", &save("none", &["k"])).await;
    ask.grpc("delete", "DeleteState", &delete("none", "k")).await;
    ask.grpc("bulk delete", "DeleteBulkState", &delete_bulk("none", &["k"])).await;
    ask.grpc("bulk get", "GetBulkState", &bulk("none", &["k"])).await;
    ask.grpc("transaction", "ExecuteStateTransaction", &transaction("none", &[])).await;
    ask.grpc("query", "QueryStateAlpha1", &query("none", "{}")).await;
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn unknown_store_and_bad_requests() {
    let scratch = Scratch::new("errors");
    let resources = scratch.resources("resources", &[&component("mem", "state.in-memory", &json!({}))]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(resources)).await;
    let mut ask = Ask::new(&sidecar, "state");
    for (what, line, body) in [
        ("unknown get", "GET /v1.0/state/none/k", ""),
        ("unknown save", "POST /v1.0/state/none", "[]"),
        ("unknown delete", "DELETE /v1.0/state/none/k", ""),
        ("unknown bulk get", "POST /v1.0/state/none/bulk", "{}"),
        ("unknown transaction", "POST /v1.0/state/none/transaction", "{}"),
        ("unknown query", "POST /v1.0-alpha1/state/none/query", "{}"),
    ] {
        ask.http(what, line, body).await;
    }
    ask.grpc("unknown get", "GetState", &get("none", "k")).await;
    ask.grpc("unknown save", "SaveState", &save("none", &["k"])).await;
    ask.grpc("unknown delete", "DeleteState", &delete("none", "k")).await;
    ask.grpc("unknown bulk delete", "DeleteBulkState", &delete_bulk("none", &["k"])).await;
    ask.grpc("unknown bulk get", "GetBulkState", &bulk("none", &["k"])).await;
    ask.grpc("unknown transaction", "ExecuteStateTransaction", &transaction("none", &[])).await;
    ask.grpc("unknown query", "QueryStateAlpha1", &query("none", "{}")).await;
    malformed(&mut ask).await;
    illegal_keys(&mut ask).await;
    unsupported(&mut ask).await;
    etags(&mut ask).await;
    ask.done();
    sidecar.stop().await;
}

async fn malformed(ask: &mut Ask<'_>) {
    ask.http("save no JSON", "POST /v1.0/state/mem", "{not").await;
    ask.http("save nothing", "POST /v1.0/state/mem", "").await;
    ask.http("save an object", "POST /v1.0/state/mem", "{}").await;
    ask.http("save numbers", "POST /v1.0/state/mem", "[1]").await;
    ask.http("save a key that is a number", "POST /v1.0/state/mem", r#"[{"key": 1}]"#).await;
    ask.http("save cut off", "POST /v1.0/state/mem", r#"[{"key": "#).await;
    ask.http("save without a key", "POST /v1.0/state/mem", r#"[{"value": 1}]"#).await;
    ask.http("bulk get no JSON", "POST /v1.0/state/mem/bulk", "nonsense").await;
    ask.http("bulk get keys no list", "POST /v1.0/state/mem/bulk", r#"{"keys": "k"}"#).await;
    ask.http("transaction no JSON", "POST /v1.0/state/mem/transaction", "nonsense").await;
    ask.http("transaction a list", "POST /v1.0/state/mem/transaction", "[]").await;
    ask.http("transaction nothing", "POST /v1.0/state/mem/transaction", "").await;
    let swap = r#"{"operations": [{"operation": "swap", "request": {"key": "a"}}]}"#;
    ask.http("transaction unknown operation", "POST /v1.0/state/mem/transaction", swap).await;
    let no_key = r#"{"operations": [{"operation": "upsert", "request": {"value": 1}}]}"#;
    ask.http("transaction without a key", "POST /v1.0/state/mem/transaction", no_key).await;
    let no_request = r#"{"operations": [{"operation": "upsert"}]}"#;
    ask.http("transaction without a request", "POST /v1.0/state/mem/transaction", no_request).await;
    ask.grpc("save without a key", "SaveState", &save("mem", &[""])).await;
    ask.grpc("get without a key", "GetState", &get("mem", "")).await;
    ask.grpc("delete without a key", "DeleteState", &delete("mem", "")).await;
    ask.grpc("unknown operation", "ExecuteStateTransaction", &transaction("mem", &[("swap", "k")])).await;
    let mut not_json = save("mem", &["k"]);
    not_json.states[0].value = b"{not".as_slice().into();
    not_json.states[0].metadata.insert("contentType".into(), "application/json".into());
    ask.grpc("value is no JSON", "SaveState", &not_json).await;
}

async fn illegal_keys(ask: &mut Ask<'_>) {
    ask.http("illegal get", "GET /v1.0/state/mem/a%7C%7Cb", "").await;
    ask.http("illegal save", "POST /v1.0/state/mem", r#"[{"key": "a||b", "value": 1}]"#).await;
    ask.http("illegal delete", "DELETE /v1.0/state/mem/a%7C%7Cb", "").await;
    ask.http("illegal bulk get", "POST /v1.0/state/mem/bulk", r#"{"keys": ["a||b"]}"#).await;
    ask.http("illegal upsert", "POST /v1.0/state/mem/transaction", upserts(&["a||b"])).await;
    let delete_it = r#"{"operations": [{"operation": "delete", "request": {"key": "a||b"}}]}"#;
    ask.http("illegal delete in a transaction", "POST /v1.0/state/mem/transaction", delete_it).await;
    ask.grpc("illegal get", "GetState", &get("mem", "a||b")).await;
    ask.grpc("illegal save", "SaveState", &save("mem", &["a||b"])).await;
    ask.grpc("illegal delete", "DeleteState", &delete("mem", "a||b")).await;
    ask.grpc("illegal bulk delete", "DeleteBulkState", &delete_bulk("mem", &["a||b"])).await;
    ask.grpc("illegal bulk get", "GetBulkState", &bulk("mem", &["a||b"])).await;
    for kind in ["upsert", "delete"] {
        let message = transaction("mem", &[(kind, "a||b")]);
        ask.grpc(&format!("illegal {kind} in a transaction"), "ExecuteStateTransaction", &message).await;
    }
}

async fn unsupported(ask: &mut Ask<'_>) {
    ask.http("query", "POST /v1.0-alpha1/state/mem/query", "{}").await;
    ask.grpc("query", "QueryStateAlpha1", &query("mem", "{}")).await;
}

async fn etags(ask: &mut Ask<'_>) {
    ask.http("etag", "POST /v1.0/state/mem", r#"[{"key": "e", "value": 1}]"#).await;
    let stale = r#"[{"key": "e", "value": 2, "etag": "7"}]"#;
    ask.http("etag mismatch", "POST /v1.0/state/mem", stale).await;
    let both = r#"[{"key": "e", "value": 2, "etag": "7"}, {"key": "f", "value": 2}]"#;
    ask.http("etag mismatch of two", "POST /v1.0/state/mem", both).await;
    let wrong = r#"[{"key": "e", "value": 2, "etag": ""}]"#;
    ask.http("etag empty", "POST /v1.0/state/mem", wrong).await;
    let headers = [("if-match", "7")];
    ask.http_with("delete etag mismatch", "DELETE /v1.0/state/mem/e", &headers, "").await;
    let operations =
        r#"{"operations": [{"operation": "upsert", "request": {"key": "e", "value": 4, "etag": "7"}}]}"#;
    ask.http("transaction etag mismatch", "POST /v1.0/state/mem/transaction", operations).await;
    let etag = Some(Etag { value: "7".into() });
    let mut stale = save("mem", &["e"]);
    stale.states[0].etag = etag.clone();
    ask.grpc("etag mismatch", "SaveState", &stale).await;
    stale.states.push(item("f"));
    ask.grpc("etag mismatch of two", "SaveState", &stale).await;
    let stale = rt::DeleteStateRequest { etag: etag.clone(), ..delete("mem", "e") };
    ask.grpc("delete etag mismatch", "DeleteState", &stale).await;
    let mut stale = delete_bulk("mem", &["e"]);
    stale.states[0].etag = etag.clone();
    ask.grpc("bulk delete etag mismatch", "DeleteBulkState", &stale).await;
    let mut stale = transaction("mem", &[("upsert", "e")]);
    stale.operations[0].request = Some(StateItem { etag, ..item("e") });
    ask.grpc("transaction etag mismatch", "ExecuteStateTransaction", &stale).await;
}

/// A store that fails at everything.
#[tokio::test]
async fn failing_store() {
    let scratch = Scratch::new("errors");
    let sockets = scratch.path().join("sockets");
    let _full = fakes::state_store(&sockets, "full", &["ETAG", "TRANSACTIONAL", "QUERY_API"]);
    let _plain = fakes::state_store(&sockets, "plain", &["ETAG"]);
    let resources = scratch.resources(
        "resources",
        &[&component("full", "state.full", &json!({})), &component("plain", "state.plain", &json!({}))],
    );
    let options = Options::new("errors").resources(resources);
    let options = options.env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "state-failing");
    for (what, key) in [("fail", "fail"), ("own", "own"), ("mismatch", "mismatch"), ("invalid", "invalid")] {
        failing_over_http(&mut ask, what, key).await;
        failing_over_grpc(&mut ask, what, key).await;
    }
    ask.http("query failed", "POST /v1.0-alpha1/state/full/query", r#"{"filter": {}}"#).await;
    ask.http("query no JSON", "POST /v1.0-alpha1/state/full/query", "nonsense").await;
    ask.grpc("query failed", "QueryStateAlpha1", &query("full", r#"{"filter": {}}"#)).await;
    ask.grpc("query no JSON", "QueryStateAlpha1", &query("full", "nonsense")).await;
    ask.http("plain query", "POST /v1.0-alpha1/state/plain/query", "{}").await;
    ask.grpc("plain query", "QueryStateAlpha1", &query("plain", "{}")).await;
    ask.http("no transactions", "POST /v1.0/state/plain/transaction", upserts(&["a"])).await;
    let message = transaction("plain", &[("upsert", "a")]);
    ask.grpc("no transactions", "ExecuteStateTransaction", &message).await;
    let four = upserts(&["a", "b", "c", "d"]);
    ask.http("too many operations", "POST /v1.0/state/full/transaction", four).await;
    let message = transaction("full", &["a", "b", "c", "d"].map(|key| ("upsert", key)));
    ask.grpc("too many operations", "ExecuteStateTransaction", &message).await;
    ask.done();
    sidecar.stop().await;
}

async fn failing_over_http(ask: &mut Ask<'_>, what: &str, key: &str) {
    let of = |call: &str| format!("{what} {call}");
    ask.http(&of("get"), &format!("GET /v1.0/state/full/{key}"), "").await;
    let one = json!([{"key": key, "value": 1}]).to_string();
    ask.http(&of("save"), "POST /v1.0/state/full", one).await;
    let two = json!([{"key": "a", "value": 1}, {"key": key, "value": 1}]).to_string();
    ask.http(&of("save two"), "POST /v1.0/state/full", two).await;
    ask.http(&of("delete"), &format!("DELETE /v1.0/state/full/{key}"), "").await;
    let keys = json!({"keys": ["a", key]}).to_string();
    ask.http(&of("bulk get"), "POST /v1.0/state/full/bulk", keys).await;
    let line = "POST /v1.0/state/full/transaction";
    ask.http(&of("transaction"), line, upserts(&["a", key])).await;
}

async fn failing_over_grpc(ask: &mut Ask<'_>, what: &str, key: &str) {
    let of = |call: &str| format!("{what} {call}");
    ask.grpc(&of("get"), "GetState", &get("full", key)).await;
    ask.grpc(&of("save"), "SaveState", &save("full", &[key])).await;
    ask.grpc(&of("save two"), "SaveState", &save("full", &["a", key])).await;
    ask.grpc(&of("delete"), "DeleteState", &delete("full", key)).await;
    let message = delete_bulk("full", &["a", key]);
    ask.grpc(&of("bulk delete"), "DeleteBulkState", &message).await;
    ask.grpc(&of("bulk get"), "GetBulkState", &bulk("full", &["a", key])).await;
    let message = transaction("full", &[("upsert", "a"), ("upsert", key)]);
    ask.grpc(&of("transaction"), "ExecuteStateTransaction", &message).await;
}

/// Values that were not encrypted, and queries of what is.
#[tokio::test]
async fn encrypted_store() {
    let scratch = Scratch::new("errors");
    let secrets = scratch.write("secrets.json", &json!({"key": "0a".repeat(16)}).to_string());
    let database = scratch.path().join("state.db");
    let mut manifests: Vec<_> = ["sealed", "open"]
        .map(|name| {
            let metadata = json!({"connectionString": database, "keyPrefix": "none"});
            serde_json::from_str(&component(name, "state.sqlite", &metadata)).expect("JSON")
        })
        .to_vec();
    let sealed: &mut serde_json::Value = &mut manifests[0];
    sealed["auth"] = json!({"secretStore": "secrets"});
    let key = json!({"name": "primaryEncryptionKey", "secretKeyRef": {"name": "key"}});
    sealed["spec"]["metadata"].as_array_mut().expect("a list").push(key);
    let store = component("secrets", "secretstores.local.file", &json!({"secretsFile": secrets}));
    let resources =
        scratch.resources("resources", &[&store, &manifests[0].to_string(), &manifests[1].to_string()]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(resources)).await;
    let mut ask = Ask::new(&sidecar, "state-encrypted");
    let mut damaged = save("open", &["k"]);
    damaged.states[0].value = format!("{}||key", "A".repeat(60)).into();
    ask.grpc("damaged value", "SaveState", &damaged).await;
    ask.http("encrypted get", "GET /v1.0/state/sealed/k", "").await;
    ask.grpc("encrypted get", "GetState", &get("sealed", "k")).await;
    ask.http("encrypted bulk get", "POST /v1.0/state/sealed/bulk", r#"{"keys": ["k"]}"#).await;
    ask.http("encrypted query", "POST /v1.0-alpha1/state/sealed/query", "{}").await;
    ask.grpc("encrypted query", "QueryStateAlpha1", &query("sealed", "{}")).await;
    ask.done();
    sidecar.stop().await;
}
