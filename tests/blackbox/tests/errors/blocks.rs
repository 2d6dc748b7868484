//! Bindings, secrets, configuration, locks and conversation.

use dapr_blackbox::{FakeApp, Options, Postgresql, Redis, Scratch, Sidecar, component, respond};
use dapr_wire::runtime::v1 as rt;
use serde_json::json;

use crate::ask::{Ask, configuration};
use crate::fakes;

fn binding(name: &str, operation: &str) -> rt::InvokeBindingRequest {
    rt::InvokeBindingRequest { name: name.into(), operation: operation.into(), ..Default::default() }
}

fn secret(store: &str, key: &str) -> rt::GetSecretRequest {
    rt::GetSecretRequest { store_name: store.into(), key: key.into(), ..Default::default() }
}

fn secrets(store: &str) -> rt::GetBulkSecretRequest {
    rt::GetBulkSecretRequest { store_name: store.into(), ..Default::default() }
}

fn items(store: &str, keys: &[&str]) -> rt::GetConfigurationRequest {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    rt::GetConfigurationRequest { store_name: store.into(), keys, ..Default::default() }
}

fn watch(store: &str) -> rt::SubscribeConfigurationRequest {
    rt::SubscribeConfigurationRequest {
        store_name: store.into(),
        keys: vec!["a".into(), "b".into()],
        ..Default::default()
    }
}

fn unwatch(store: &str) -> rt::UnsubscribeConfigurationRequest {
    rt::UnsubscribeConfigurationRequest { store_name: store.into(), id: "7".into() }
}

fn lock(store: &str, resource: &str, owner: &str, seconds: i32) -> rt::TryLockRequest {
    rt::TryLockRequest {
        store_name: store.into(),
        resource_id: resource.into(),
        lock_owner: owner.into(),
        expiry_in_seconds: seconds,
    }
}

fn unlock(store: &str, resource: &str, owner: &str) -> rt::UnlockRequest {
    rt::UnlockRequest { store_name: store.into(), resource_id: resource.into(), lock_owner: owner.into() }
}

fn alpha1(name: &str, inputs: &[&str]) -> rt::ConversationRequest {
    let input = |text: &&str| rt::ConversationInput { content: (*text).into(), ..Default::default() };
    let inputs = inputs.iter().map(input).collect();
    rt::ConversationRequest { name: name.into(), inputs, ..Default::default() }
}

fn alpha2(name: &str, messages: Option<Vec<rt::ConversationMessage>>) -> rt::ConversationRequestAlpha2 {
    let inputs = messages.map(|messages| rt::ConversationInputAlpha2 { messages, ..Default::default() });
    rt::ConversationRequestAlpha2 {
        name: name.into(),
        inputs: inputs.into_iter().collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn nothing_configured() {
    let scratch = Scratch::new("errors");
    let sidecar = Sidecar::start(&scratch, Options::new("errors")).await;
    let mut ask = Ask::new(&sidecar, "blocks-none");
    for (what, line, body) in [
        ("binding", "POST /v1.0/bindings/none", r#"{"operation": "create"}"#),
        ("secret", "GET /v1.0/secrets/none/k", ""),
        ("secrets", "GET /v1.0/secrets/none/bulk", ""),
        ("configuration", "GET /v1.0/configuration/none?key=a", ""),
        ("configuration alpha", "GET /v1.0-alpha1/configuration/none?key=a", ""),
        ("configuration subscribe", "GET /v1.0/configuration/none/subscribe?key=a", ""),
        ("configuration unsubscribe", "GET /v1.0/configuration/none/7/unsubscribe", ""),
        ("lock", "POST /v1.0-alpha1/lock/none", r#"{"expiryInSeconds": 5}"#),
        ("lock without expiry", "POST /v1.0-alpha1/lock/none", ""),
        ("unlock", "POST /v1.0-alpha1/unlock/none", ""),
        ("encrypt", "PUT /v1.0-alpha1/crypto/none/encrypt", ""),
        ("decrypt", "PUT /v1.0-alpha1/crypto/none/decrypt", ""),
        ("conversation", "POST /v1.0-alpha1/conversation/none/converse", r#"{"inputs": [{"content": "x"}]}"#),
        ("conversation without inputs", "POST /v1.0-alpha1/conversation/none/converse", ""),
        ("conversation alpha2", "POST /v1.0-alpha2/conversation/none/converse", r#"{"inputs": [{}]}"#),
    ] {
        ask.http(what, line, body).await;
    }
    ask.grpc("binding", "InvokeBinding", &binding("none", "create")).await;
    ask.grpc("secret", "GetSecret", &secret("none", "k")).await;
    ask.grpc("secrets", "GetBulkSecret", &secrets("none")).await;
    ask.grpc("configuration", "GetConfiguration", &items("none", &["a"])).await;
    ask.grpc("configuration alpha", "GetConfigurationAlpha1", &items("none", &["a"])).await;
    ask.grpc("configuration subscribe", "SubscribeConfiguration", &watch("none")).await;
    ask.grpc("configuration unsubscribe", "UnsubscribeConfiguration", &unwatch("none")).await;
    ask.grpc("lock", "TryLockAlpha1", &lock("none", "", "", 5)).await;
    ask.grpc("lock without expiry", "TryLockAlpha1", &lock("none", "", "", 0)).await;
    ask.grpc("unlock", "UnlockAlpha1", &unlock("none", "", "")).await;
    ask.grpc("conversation", "ConverseAlpha1", &alpha1("none", &["x"])).await;
    ask.grpc("conversation without inputs", "ConverseAlpha1", &alpha1("none", &[])).await;
    ask.grpc("conversation alpha2", "ConverseAlpha2", &alpha2("none", Some(Vec::new()))).await;
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn bindings() {
    let scratch = Scratch::new("errors");
    let sockets = scratch.path().join("sockets");
    let _component = fakes::binding(&sockets, "broken");
    let files = scratch.path().join("files");
    let manifests = [
        component("broken", "bindings.broken", &json!({})),
        component("files", "bindings.localstorage", &json!({"rootPath": files})),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1]]);
    let options = Options::new("errors").resources(resources);
    let options = options.env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "bindings");
    for (what, name, body) in [
        ("unknown", "none", r#"{"operation": "create"}"#),
        ("no JSON", "none", "{not"),
        ("nothing", "none", ""),
        ("a list", "none", "[]"),
        ("metadata of numbers", "none", r#"{"metadata": {"a": 1}}"#),
        ("unknown without operation", "none", "{}"),
        ("no operation", "files", r#"{"data": 1}"#),
        ("unknown operation", "files", r#"{"operation": "dance"}"#),
        ("broken", "broken", r#"{"operation": "fail"}"#),
        ("not listed", "broken", r#"{"operation": "dance"}"#),
    ] {
        ask.http(what, &format!("POST /v1.0/bindings/{name}"), body).await;
    }
    for (what, name, operation) in [
        ("unknown", "none", "create"),
        ("unknown without operation", "none", ""),
        ("no operation", "files", ""),
        ("unknown operation", "files", "dance"),
        ("broken", "broken", "fail"),
    ] {
        ask.grpc(what, "InvokeBinding", &binding(name, operation)).await;
    }
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn secret_stores() {
    let scratch = Scratch::new("errors");
    let sockets = scratch.path().join("sockets");
    let _component = fakes::secret_store(&sockets, "broken");
    let file = scratch.write("secrets.json", r#"{"open": "1", "closed": "2"}"#);
    let manifests = [
        component("broken", "secretstores.broken", &json!({})),
        component("file", "secretstores.local.file", &json!({"secretsFile": file})),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1]]);
    let scopes = json!({"secrets": {"scopes": [{"storeName": "file", "deniedSecrets": ["closed"]}]}});
    let options = Options::new("errors").resources(resources).config(configuration(&scratch, &scopes));
    let options = options.env("DAPR_COMPONENTS_SOCKETS_FOLDER", sockets.to_str().expect("UTF-8"));
    let sidecar = Sidecar::start(&scratch, options).await;
    let mut ask = Ask::new(&sidecar, "secrets");
    for (what, path) in [
        ("unknown store", "none/k"),
        ("unknown store bulk", "none/bulk"),
        ("denied", "file/closed"),
        ("denied with a quote", "file/clo%22sed"),
        ("unknown secret", "file/nothing"),
        ("broken", "broken/fail"),
        ("broken bulk", "broken/bulk"),
        ("bulk without the denied", "file/bulk"),
    ] {
        ask.http(what, &format!("GET /v1.0/secrets/{path}"), "").await;
    }
    ask.grpc("unknown store", "GetSecret", &secret("none", "k")).await;
    ask.grpc("unknown store bulk", "GetBulkSecret", &secrets("none")).await;
    ask.grpc("denied", "GetSecret", &secret("file", "closed")).await;
    ask.grpc("unknown secret", "GetSecret", &secret("file", "nothing")).await;
    ask.grpc("broken", "GetSecret", &secret("broken", "fail")).await;
    ask.grpc("broken bulk", "GetBulkSecret", &secrets("broken")).await;
    ask.done();
    sidecar.stop().await;
}

#[tokio::test]
async fn configuration_and_locks() {
    let scratch = Scratch::new("errors");
    let server = Redis::start().await;
    let address = json!({"redisHost": server.address()});
    let manifests = [
        component("conf", "configuration.redis", &address),
        component("locks", "lock.redis", &address),
        component("state", "state.redis", &json!({"redisHost": server.address(), "keyPrefix": "none"})),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1], &manifests[2]]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(resources)).await;
    let mut ask = Ask::new(&sidecar, "configuration-lock");
    // A hash where configuration items are strings.
    ask.http("a hash", "POST /v1.0/state/state", r#"[{"key": "hash", "value": 1}]"#).await;
    for (what, path) in [
        ("unknown", "none?key=a"),
        ("unknown subscribe", "none/subscribe?key=a"),
        ("unknown unsubscribe", "none/7/unsubscribe"),
        ("unreadable", "conf?key=hash&key=other"),
        ("subscribe without an app", "conf/subscribe?key=a&key=b"),
        ("unsubscribe", "conf/7/unsubscribe"),
    ] {
        ask.http(what, &format!("GET /v1.0/configuration/{path}"), "").await;
    }
    ask.grpc("unknown", "GetConfiguration", &items("none", &["a"])).await;
    ask.grpc("unknown subscribe", "SubscribeConfiguration", &watch("none")).await;
    ask.grpc("unknown unsubscribe", "UnsubscribeConfiguration", &unwatch("none")).await;
    ask.grpc("unreadable", "GetConfiguration", &items("conf", &["hash", "other"])).await;
    locks(&mut ask).await;
    ask.done();
    sidecar.stop().await;
    drop(server);
}

async fn locks(ask: &mut Ask<'_>) {
    for (what, path, body) in [
        ("lock no JSON", "lock/locks", "nonsense"),
        ("lock a list", "lock/locks", "[]"),
        ("lock owner is a number", "lock/locks", r#"{"lockOwner": 1}"#),
        ("lock unknown", "lock/none", r#"{"resourceId": "r", "lockOwner": "o", "expiryInSeconds": 5}"#),
        ("lock without resource", "lock/locks", r#"{"lockOwner": "o", "expiryInSeconds": 5}"#),
        ("lock without owner", "lock/locks", r#"{"resourceId": "r", "expiryInSeconds": 5}"#),
        ("lock without expiry", "lock/locks", r#"{"resourceId": "r", "lockOwner": "o"}"#),
        ("lock negative expiry", "lock/locks", r#"{"expiryInSeconds": -5}"#),
        ("lock illegal", "lock/locks", r#"{"resourceId": "a||b", "lockOwner": "o", "expiryInSeconds": 5}"#),
        ("unlock unknown", "unlock/none", r#"{"resourceId": "r", "lockOwner": "o"}"#),
        ("unlock without resource", "unlock/locks", r#"{"lockOwner": "o"}"#),
        ("unlock without owner", "unlock/locks", r#"{"resourceId": "r"}"#),
        ("unlock illegal", "unlock/locks", r#"{"resourceId": "a||b", "lockOwner": "o"}"#),
    ] {
        ask.http(what, &format!("POST /v1.0-alpha1/{path}"), body).await;
    }
    ask.grpc("lock unknown", "TryLockAlpha1", &lock("none", "r", "o", 5)).await;
    ask.grpc("lock without resource", "TryLockAlpha1", &lock("locks", "", "o", 5)).await;
    ask.grpc("lock without owner", "TryLockAlpha1", &lock("locks", "r", "", 5)).await;
    ask.grpc("lock without expiry", "TryLockAlpha1", &lock("locks", "r", "o", 0)).await;
    ask.grpc("lock illegal", "TryLockAlpha1", &lock("locks", "a||b", "o", 5)).await;
    ask.grpc("unlock unknown", "UnlockAlpha1", &unlock("none", "r", "o")).await;
    ask.grpc("unlock without resource", "UnlockAlpha1", &unlock("locks", "", "o")).await;
    ask.grpc("unlock without owner", "UnlockAlpha1", &unlock("locks", "r", "")).await;
    ask.grpc("unlock illegal", "UnlockAlpha1", &unlock("locks", "a||b", "o")).await;
}

#[tokio::test]
async fn conversation() {
    let scratch = Scratch::new("errors");
    // A model that is never well.
    let model =
        FakeApp::start(|_| async { respond(500, r#"{"error": {"message": "model on fire"}}"#) }).await;
    let endpoint = format!("http://127.0.0.1:{}", model.port);
    let manifests = [
        component("echo", "conversation.echo", &json!({})),
        component("broken", "conversation.openai", &json!({"key": "k", "model": "m", "endpoint": endpoint})),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1]]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(resources)).await;
    let mut ask = Ask::new(&sidecar, "conversation");
    for (what, path, body) in [
        ("unknown", "v1.0-alpha1/conversation/none/converse", r#"{"inputs": [{"content": "x"}]}"#),
        ("no inputs", "v1.0-alpha1/conversation/echo/converse", "{}"),
        ("no JSON", "v1.0-alpha1/conversation/echo/converse", "nonsense"),
        ("broken", "v1.0-alpha1/conversation/broken/converse", r#"{"inputs": [{"content": "x"}]}"#),
        ("unknown alpha2", "v1.0-alpha2/conversation/none/converse", r#"{"inputs": [{}]}"#),
        ("no inputs alpha2", "v1.0-alpha2/conversation/echo/converse", "{}"),
        ("no messages", "v1.0-alpha2/conversation/echo/converse", r#"{"inputs": [{}]}"#),
        ("no kind", "v1.0-alpha2/conversation/echo/converse", r#"{"inputs": [{"messages": [{}]}]}"#),
        (
            "unknown tool",
            "v1.0-alpha2/conversation/echo/converse",
            r#"{"inputs": [{"messages": [{"ofUser": {"content": [{"text": "x"}]}}]}], "toolChoice": "saw"}"#,
        ),
        (
            "broken alpha2",
            "v1.0-alpha2/conversation/broken/converse",
            r#"{"inputs": [{"messages": [{"ofUser": {"content": [{"text": "x"}]}}]}]}"#,
        ),
    ] {
        ask.http(what, &format!("POST /{path}"), body).await;
    }
    ask.grpc("unknown", "ConverseAlpha1", &alpha1("none", &["x"])).await;
    ask.grpc("no inputs", "ConverseAlpha1", &alpha1("echo", &[])).await;
    ask.grpc("broken", "ConverseAlpha1", &alpha1("broken", &["x"])).await;
    ask.grpc("unknown alpha2", "ConverseAlpha2", &alpha2("none", Some(Vec::new()))).await;
    ask.grpc("no inputs alpha2", "ConverseAlpha2", &alpha2("echo", None)).await;
    ask.grpc("no messages", "ConverseAlpha2", &alpha2("echo", Some(Vec::new()))).await;
    let nothing = vec![rt::ConversationMessage::default()];
    ask.grpc("no kind", "ConverseAlpha2", &alpha2("echo", Some(nothing))).await;
    ask.done();
    sidecar.stop().await;
}

/// Stores that cannot do what they are asked: one whose server is away, one
/// that is not told where changes are announced.
#[tokio::test]
async fn failing_configuration_stores() {
    let scratch = Scratch::new("errors");
    let app = FakeApp::start(|_| async { respond(200, "") }).await;
    let (redis, postgresql) = (Redis::start().await, Postgresql::start().await);
    let table = json!({
        "connectionString": postgresql.connection_string(),
        "table": "configtable",
        "maxIdentifierLength": "63",
    });
    postgresql.run("CREATE TABLE configtable (key varchar, value varchar, version varchar, metadata json)");
    let (address, port) = (redis.address(), redis.port());
    let manifests = [
        component("away", "configuration.redis", &json!({"redisHost": address, "redisMaxRetries": "1"})),
        component("silent", "configuration.postgresql", &table),
    ];
    let resources = scratch.resources("resources", &[&manifests[0], &manifests[1]]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").app(app.port).resources(resources)).await;
    drop(redis);
    let mut ask = Ask::new(&sidecar, "configuration-failing");
    ask.mask_port(port, "PORT");
    for (what, path) in [
        ("get", "away?key=a"),
        ("subscribe", "silent/subscribe?key=a&key=b"),
        ("subscribe to all", "silent/subscribe"),
        (
            "subscribe to a long channel",
            &format!("silent/subscribe?metadata.pgNotifyChannel={}", "x".repeat(70)),
        ),
        ("subscribe to an odd channel", "silent/subscribe?key=a&metadata.pgNotifyChannel=Odd%20One"),
        ("unsubscribe", "silent/7/unsubscribe"),
    ] {
        ask.http(what, &format!("GET /v1.0/configuration/{path}"), "").await;
    }
    ask.grpc("get", "GetConfiguration", &items("away", &["a"])).await;
    ask.grpc("subscribe", "SubscribeConfiguration", &watch("silent")).await;
    let mut odd = watch("silent");
    odd.metadata.insert("pgNotifyChannel".into(), "Odd One".into());
    ask.grpc("subscribe to an odd channel", "SubscribeConfiguration", &odd).await;
    ask.grpc("unsubscribe", "UnsubscribeConfiguration", &unwatch("silent")).await;
    ask.done();
    sidecar.stop().await;
}
