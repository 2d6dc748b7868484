//! Resources that change while the sidecar runs, and restarts in the process:
//! what is in use goes on (docs/hot-reload.md).
#![forbid(unsafe_code)]

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use dapr_blackbox::{
    Client, FakeApp, Options, Redis, Scratch, Sidecar, component, component_document, eventually, free_port,
    respond, respond_json,
};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// Replaces a file as editors do: written elsewhere, then renamed over it.
fn replace(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    fs::write(&new, text).expect("writable folder");
    fs::rename(new, folder.join(name)).expect("same folder");
}

/// Names of the loaded components, sorted.
async fn loaded(client: &Client) -> Result<Vec<String>, String> {
    let answer =
        client.try_send(Method::GET, "/v1.0/metadata", &[], "").await.map_err(|e| format!("{e:#}"))?;
    let components = answer.json()["components"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<_> =
        components.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    Ok(names)
}

async fn expect_loaded(client: &Client, names: &[&str]) {
    eventually("the right components are loaded", LIMIT, || async {
        let found = loaded(client).await?;
        if found == names { Ok(()) } else { Err(format!("{found:?} instead of {names:?}")) }
    })
    .await;
}

#[tokio::test]
async fn components_come_change_and_go() {
    let scratch = Scratch::new("reload");
    let folder = scratch.resources("resources", &[]);
    let mut sidecar = Sidecar::start(&scratch, Options::new("reload").resources(&folder)).await;
    let client = sidecar.client.clone();
    expect_loaded(&client, &[]).await;
    replace(&folder, "a.yaml", &component("a", "state.in-memory", &json!({})));
    expect_loaded(&client, &["a"]).await;
    client.post("/v1.0/state/a", &json!([{"key": "k", "value": 1}])).await.expect(204);
    // Another name in the same file.
    replace(&folder, "a.yaml", &component("b", "state.in-memory", &json!({})));
    expect_loaded(&client, &["b"]).await;
    // Deleted and created again, as some editors do.
    fs::remove_file(folder.join("a.yaml")).unwrap();
    fs::write(folder.join("a.yaml"), component("b", "pubsub.in-memory", &json!({}))).unwrap();
    eventually("the type follows", LIMIT, || async {
        let all = client.get("/v1.0/metadata").await.json()["components"].clone();
        if all[0]["type"] == "pubsub.in-memory" { Ok(()) } else { Err(all.to_string()) }
    })
    .await;
    // Files that are none, a document that cannot be read, another that can.
    fs::write(folder.join("notes.txt"), "hello").unwrap();
    replace(&folder, "c.yaml", "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: [\n");
    replace(&folder, "d.yaml", &component("d", "state.in-memory", &json!({})));
    expect_loaded(&client, &["b", "d"]).await;
    assert!(sidecar.process.output().contains("c.yaml"), "{}", sidecar.process.tail());
    // A broken edit of a loaded one takes it away, as in Dapr; the repair brings it back.
    replace(&folder, "d.yaml", "kind: [");
    expect_loaded(&client, &["b"]).await;
    replace(&folder, "d.yaml", &component("d", "state.in-memory", &json!({})));
    expect_loaded(&client, &["b", "d"]).await;
    // Failures that are ignored, and one that is not.
    let mut broken = component_document("d", "state.sqlite", &json!({}));
    broken["spec"]["ignoreErrors"] = json!(true);
    replace(&folder, "d.yaml", &broken.to_string());
    expect_loaded(&client, &["b"]).await;
    let missing = client.get("/v1.0/metadata").await.json()["unavailableComponents"].clone();
    assert_eq!((&missing[0]["name"], &missing[0]["state"]), (&json!("d"), &json!("FAILED")), "{missing}");
    assert_eq!(client.get("/v1.0/healthz").await.headers["dapr-unavailable-components"], "d");
    replace(&folder, "d.yaml", &component("d", "state.unknown", &json!({})));
    let output = sidecar.failed().await;
    assert!(output.contains("couldn't find state store state.unknown/v1"), "{output}");
}

#[tokio::test]
async fn the_feature_can_be_off() {
    let scratch = Scratch::new("reload-off");
    let folder = scratch.resources("resources", &[]);
    let config = scratch.write(
        "config.yaml",
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec: {features: [{name: HotReload, enabled: false}]}\n",
    );
    let options = Options::new("still").resources(&folder).config(config);
    let sidecar = Sidecar::start(&scratch, options).await;
    replace(&folder, "a.yaml", &component("a", "state.in-memory", &json!({})));
    tokio::time::sleep(Duration::from_millis(500)).await;
    expect_loaded(&sidecar.client, &[]).await;
    // A hang-up reads everything again.
    sidecar.process.hang_up();
    expect_loaded(&sidecar.client, &["a"]).await;
    sidecar.stop().await;
}

#[tokio::test]
async fn linked_folders_are_followed() {
    let scratch = Scratch::new("reload-links");
    let mounted = scratch.path().join("mounted");
    // As Kubernetes mounts a ConfigMap: files lead through a link that is swapped.
    for (version, names) in [("..1", ["a"].as_slice()), ("..2", &["a", "b"])] {
        fs::create_dir_all(mounted.join(version)).unwrap();
        for name in names {
            let text = component(name, "state.in-memory", &json!({"version": version}));
            fs::write(mounted.join(version).join(format!("{name}.yaml")), text).unwrap();
        }
    }
    symlink("..1", mounted.join("..data")).unwrap();
    symlink("..data/a.yaml", mounted.join("a.yaml")).unwrap();
    let folder = scratch.path().join("resources");
    symlink(&mounted, &folder).unwrap();
    let sidecar = Sidecar::start(&scratch, Options::new("links").resources(&folder)).await;
    expect_loaded(&sidecar.client, &["a"]).await;
    symlink("..2", mounted.join("..new")).unwrap();
    fs::rename(mounted.join("..new"), mounted.join("..data")).unwrap();
    symlink("..data/b.yaml", mounted.join("b.yaml")).unwrap();
    expect_loaded(&sidecar.client, &["a", "b"]).await;
    // The folder itself is a link, too, and now leads elsewhere.
    let other = scratch.resources("other", &[&component("c", "state.in-memory", &json!({}))]);
    symlink(&other, scratch.path().join("next")).unwrap();
    fs::rename(scratch.path().join("next"), &folder).unwrap();
    expect_loaded(&sidecar.client, &["c"]).await;
    fs::write(other.join("d.yaml"), component("d", "state.in-memory", &json!({}))).unwrap();
    expect_loaded(&sidecar.client, &["c", "d"]).await;
    sidecar.stop().await;
}

#[tokio::test]
async fn references_wait_for_their_secret_store() {
    let scratch = Scratch::new("reload-secrets");
    let folder = scratch.resources("resources", &[]);
    let secrets = scratch.write("secrets.json", r#"{"path": "/tmp"}"#);
    let sidecar = Sidecar::start(&scratch, Options::new("secrets").resources(&folder)).await;
    let binding = json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "files"},
        "spec": {"type": "bindings.localstorage", "version": "v1",
            "metadata": [{"name": "rootPath", "secretKeyRef": {"name": "path", "key": "path"}}]},
        "auth": {"secretStore": "vault"},
    });
    fs::write(folder.join("a.yaml"), binding.to_string()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    expect_loaded(&sidecar.client, &[]).await;
    let path = secrets.to_str().unwrap();
    let store = component("vault", "secretstores.local.file", &json!({"secretsFile": path}));
    fs::write(folder.join("b.yaml"), store).unwrap();
    expect_loaded(&sidecar.client, &["files", "vault"]).await;
    sidecar.stop().await;
}

/// An application that subscribes to `bus`/`orders` and remembers what it got.
async fn subscriber() -> (FakeApp, Arc<Mutex<Vec<u64>>>) {
    let inbox = Arc::new(Mutex::new(Vec::new()));
    let received = inbox.clone();
    let app = FakeApp::start(move |request| {
        let received = received.clone();
        async move {
            match request.uri().path() {
                "/dapr/subscribe" => {
                    respond_json(&json!([{"pubsubname": "bus", "topic": "orders", "route": "/orders"}]))
                }
                "/orders" => {
                    let event: Value = serde_json::from_slice(request.body()).expect("JSON");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    received.lock().push(event["data"]["id"].as_u64().expect("an id"));
                    respond_json(&json!({"status": "SUCCESS"}))
                }
                _ => respond(404, ""),
            }
        }
    })
    .await;
    (app, inbox)
}

async fn all_delivered(inbox: &Mutex<Vec<u64>>, count: u64) {
    eventually("every message arrives", Duration::from_secs(120), || async {
        let mut ids = inbox.lock().clone();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() as u64 == count { Ok(()) } else { Err(format!("{} of {count}", ids.len())) }
    })
    .await;
}

/// Publishes `count` messages while the component of the bus is replaced.
async fn swap_bus_under_load(scratch: &Scratch, manifest: impl Fn(u32) -> String, count: u64) {
    let (app, inbox) = subscriber().await;
    let folder = scratch.resources("resources", &[]);
    replace(&folder, "bus.yaml", &manifest(0));
    let sidecar = Sidecar::start(scratch, Options::new("swap").app(app.port).resources(&folder)).await;
    let swaps = async {
        for round in 1..=4 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            replace(&folder, "bus.yaml", &manifest(round));
        }
    };
    let client = sidecar.client.clone();
    let load = async {
        for id in 0..count {
            client.post("/v1.0/publish/bus/orders", &json!({"id": id})).await.expect(204);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::join!(swaps, load);
    all_delivered(&inbox, count).await;
    assert_eq!(inbox.lock().len() as u64, count, "delivered more than once");
    let output = sidecar.process.output();
    assert_eq!(output.matches("Component updated: bus").count(), 4, "{}", sidecar.process.tail());
    sidecar.stop().await;
}

#[tokio::test]
async fn a_bus_in_redis_is_swapped_under_load() {
    let scratch = Scratch::new("swap-redis");
    let redis = Redis::start().await;
    let address = redis.address();
    let manifest = |round: u32| {
        let concurrency = (10 + round).to_string();
        let metadata = json!({"redisHost": address, "concurrency": concurrency});
        component("bus", "pubsub.redis", &metadata)
    };
    swap_bus_under_load(&scratch, manifest, 600).await;
}

#[tokio::test]
async fn a_bus_in_memory_is_swapped_under_load() {
    let scratch = Scratch::new("swap-memory");
    let manifest = |round: u32| component("bus", "pubsub.in-memory", &json!({"round": round.to_string()}));
    swap_bus_under_load(&scratch, manifest, 400).await;
}

#[tokio::test]
async fn a_state_store_is_swapped_under_load() {
    let scratch = Scratch::new("swap-state");
    let file = scratch.path().join("state.db");
    let manifest = |round: u32| {
        let timeout = format!("{}s", 20 + round);
        let metadata = json!({"connectionString": file, "timeout": timeout});
        component("store", "state.sqlite", &metadata)
    };
    let folder = scratch.resources("resources", &[&manifest(0)]);
    let sidecar = Sidecar::start(&scratch, Options::new("swap").resources(&folder)).await;
    let client = sidecar.client.clone();
    let swaps = async {
        for round in 1..=5 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            replace(&folder, "0.yaml", &manifest(round));
        }
    };
    let load = async {
        for id in 0..500 {
            client.post("/v1.0/state/store", &json!([{"key": "k", "value": id}])).await.expect(204);
            assert_eq!(client.get("/v1.0/state/store/k").await.expect(200).json(), json!(id));
        }
    };
    tokio::join!(swaps, load);
    sidecar.stop().await;
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let scratch = Scratch::new("reload-subscriptions");
    let app = FakeApp::start(|_| async { respond(200, "") }).await;
    let folder = scratch.resources("resources", &[&component("bus", "pubsub.in-memory", &json!({}))]);
    let mut sidecar = Sidecar::start(&scratch, Options::new("subs").app(app.port).resources(&folder)).await;
    let client = sidecar.client.clone();
    let subscription = |topic: &str, matches: &str| {
        json!({
            "apiVersion": "dapr.io/v2alpha1", "kind": "Subscription", "metadata": {"name": "s"},
            "spec": {"pubsubname": "bus", "topic": topic,
                "routes": {"rules": [{"match": matches, "path": "/x"}], "default": "/y"}},
        })
        .to_string()
    };
    let topics = async |wanted: &[&str]| {
        eventually("the subscriptions follow", LIMIT, || async {
            let all = client.get("/v1.0/metadata").await.json()["subscriptions"].clone();
            let found: Vec<_> = all.as_array().into_iter().flatten().map(|s| s["topic"].clone()).collect();
            if found == wanted { Ok(()) } else { Err(all.to_string()) }
        })
        .await;
    };
    replace(&folder, "s.yaml", &subscription("one", "event.type == 'a'"));
    topics(&["one"]).await;
    replace(&folder, "s.yaml", &subscription("two", "event.type == 'a'"));
    topics(&["two"]).await;
    fs::remove_file(folder.join("s.yaml")).unwrap();
    topics(&[]).await;
    replace(&folder, "s.yaml", &subscription("three", "event.type =="));
    let output = sidecar.failed().await;
    assert!(output.contains("Fatal error from runtime: "), "{output}");
}

#[tokio::test]
async fn a_restart_in_the_process_refuses_nobody() {
    let scratch = Scratch::new("restart");
    let folder = scratch.resources("resources", &[&component("s", "state.in-memory", &json!({}))]);
    let sidecar = Sidecar::start(&scratch, Options::new("restart").resources(&folder)).await;
    let (port, id) = (sidecar.http_port, sidecar.process.id());
    let restarts = async {
        for round in 0..3 {
            sidecar.process.hang_up();
            eventually("it starts over", LIMIT, || async {
                let starts = sidecar.process.output().matches("dapr initialized").count();
                if starts == round + 2 { Ok(()) } else { Err(format!("started {starts} times")) }
            })
            .await;
        }
        // A changed policy does the same.
        let policy = "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: calm}\nspec: {policies: {timeouts: {short: 1s}}, targets: {components: {s: {outbound: {timeout: short}}}}}\n";
        fs::write(folder.join("r.yaml"), policy).unwrap();
        eventually("the policy is in force", LIMIT, || async {
            let all = Client::new(port).get("/v1.0/metadata").await.json()["resiliencies"].clone();
            if all[0]["name"] == "calm" { Ok(()) } else { Err(all.to_string()) }
        })
        .await;
    };
    let load = async {
        loop {
            // A connection of its own: none may be refused or reset.
            Client::new(port).get("/v1.0/metadata").await.expect(200);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::select! { () = restarts => {}, () = load => {} }
    let output = sidecar.process.output();
    assert!(
        output.contains("Received Resiliency CREATED event: calm - triggering SIGHUP reload"),
        "{output}"
    );
    assert_eq!(sidecar.process.id(), id);
    let why = sidecar.client.get("/v1.0/metadata/resiliency?component=s").await.expect(200).json();
    let timeout = &why["targets"][0]["policies"][0];
    assert_eq!((&timeout["policy"], &timeout["origin"]), (&json!("short"), &json!("named")), "{why}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_server_may_come_late() {
    let scratch = Scratch::new("late");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut bus =
        component_document("bus", "pubsub.redis", &json!({"redisHost": address, "redisMaxRetries": "1"}));
    bus["metadata"]["annotations"] = json!({"dapr.io/init-retry": "background"});
    let (app, inbox) = subscriber().await;
    let folder = scratch.resources("resources", &[&bus.to_string()]);
    let sidecar = Sidecar::start(&scratch, Options::new("late").app(app.port).resources(&folder)).await;
    let client = sidecar.client.clone();
    let missing = client.get("/v1.0/metadata").await.json()["unavailableComponents"].clone();
    assert_eq!((&missing[0]["name"], &missing[0]["state"]), (&json!("bus"), &json!("RETRYING")), "{missing}");
    let redis = Redis::start_on(port, &[]).await;
    expect_loaded(&client, &["bus"]).await;
    assert!(client.get("/v1.0/metadata").await.json()["unavailableComponents"].is_null());
    for id in 0..10 {
        client.post("/v1.0/publish/bus/orders", &json!({"id": id})).await.expect(204);
    }
    all_delivered(&inbox, 10).await;
    sidecar.stop().await;
    drop(redis);
}

/// Messages a second and in all; more with `DAPR_TEST_LOAD=full`.
fn load() -> (u64, u64) {
    if std::env::var_os("DAPR_TEST_LOAD").is_some() { (1000, 20_000) } else { (300, 2_400) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing() {
    let scratch = Scratch::new("rolling");
    let redis = Redis::start().await;
    let bus = component("bus", "pubsub.redis", &json!({"redisHost": redis.address()}));
    let folder = scratch.resources("resources", &[&bus]);
    let publisher = Sidecar::start(&scratch, Options::new("publisher").resources(&folder)).await;
    let (app, inbox) = subscriber().await;
    let options = Options::new("consumer").app(app.port).resources(&folder);
    let mut consumers = Vec::new();
    for _ in 0..2 {
        consumers.push(Sidecar::start(&scratch, options.clone()).await);
    }
    let (rate, count) = load();
    let client = &publisher.client;
    let publishing = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for batch in 0..count / (rate / 100) {
            ticks.tick().await;
            let ids = batch * (rate / 100)..(batch + 1) * (rate / 100);
            let sends = ids.map(|id| async move {
                client.post("/v1.0/publish/bus/orders", &json!({"id": id})).await.expect(204);
            });
            futures::future::join_all(sends).await;
        }
    };
    // Each consumer is replaced twice, one at a time.
    let replacing = async {
        for _ in 0..2 {
            for consumer in &mut consumers {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let next = Sidecar::start(&scratch, options.clone()).await;
                std::mem::replace(consumer, next).stop().await;
            }
        }
    };
    tokio::join!(publishing, replacing);
    all_delivered(&inbox, count).await;
    let twice = inbox.lock().len() as u64 - count;
    assert!(twice * 1000 < count, "{twice} of {count} were delivered twice");
    for consumer in consumers {
        consumer.stop().await;
    }
    publisher.stop().await;
}
