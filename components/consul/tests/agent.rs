//! The resolver against a stand-in for Consul's agent: Debian has no package
//! of Consul. The stand-in knows the five calls that the resolver makes, and
//! nothing of Consul's own behaviour.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dapr_components::nameresolution::{Instance, NameResolver, ResolveRequest, ResolverContext};
use dapr_consul::Consul;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Default)]
struct State {
    /// By id.
    services: BTreeMap<String, Value>,
    /// Heads of the requests.
    seen: Vec<String>,
}

struct Agent {
    port: u16,
    state: Arc<Mutex<State>>,
    index: Arc<watch::Sender<u64>>,
    tasks: TaskGroup,
}

impl Agent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let index = Arc::new(watch::Sender::new(1));
        let tasks = TaskGroup::new(Shutdown::new());
        let agent = Self { port, state: state.clone(), index: index.clone(), tasks: tasks.clone() };
        tasks.clone().spawn_until_shutdown("agent", async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn_until_shutdown("connection", serve(stream, state.clone(), index.clone()));
            }
        });
        agent
    }

    fn add(&self, id: &str, name: &str, address: &str, port: &str) {
        let service = json!({"ID": id, "Name": name, "Address": address, "Meta": {"DAPR_PORT": port}});
        self.state.lock().services.insert(id.to_owned(), service);
        self.index.send_modify(|index| *index += 1);
    }

    fn remove(&self, id: &str) {
        self.state.lock().services.remove(id);
        self.index.send_modify(|index| *index += 1);
    }

    fn queries(&self) -> usize {
        self.state.lock().seen.iter().filter(|head| head.contains("/v1/health/service/")).count()
    }

    async fn connect(&self, mut configuration: Value) -> Result<Consul, String> {
        configuration["client"] = json!({
            "Address": format!("127.0.0.1:{}", self.port),
            "token": "secret",
            "httpauth": {"username": "u", "password": "p"},
        });
        connect(configuration).await
    }
}

async fn connect(configuration: Value) -> Result<Consul, String> {
    let context = ResolverContext {
        configuration,
        instance: Instance {
            identity: AppIdentity::new("me", None),
            address: "127.0.0.1".parse().unwrap(),
            http_port: 3500,
            internal_grpc_port: 50002,
            app_port: 8080,
        },
        tasks: TaskGroup::new(Shutdown::new()),
    };
    Consul::connect(context).await.map_err(|e| e.to_string())
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, index: Arc<watch::Sender<u64>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while buffer.len() < length {
            stream.read_buf(&mut buffer).await.unwrap();
        }
        let body: Vec<u8> = buffer.drain(..length).collect();
        let (status, body, index) = answer(&head, &body, &state, &index).await;
        let head = format!(
            "HTTP/1.1 {status} X\r\nx-consul-index: {index}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn answer(
    head: &str,
    body: &[u8],
    state: &Mutex<State>,
    index: &watch::Sender<u64>,
) -> (u16, String, u64) {
    state.lock().seen.push(head.to_owned());
    let target = head.split_whitespace().nth(1).unwrap().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    if path == "/v1/agent/self" {
        return (200, "{}".to_owned(), 0);
    }
    if path == "/v1/agent/service/register" {
        let service: Value = serde_json::from_slice(body).unwrap();
        let id = service["ID"].as_str().unwrap().to_owned();
        state.lock().services.insert(id, service);
        return (200, String::new(), 0);
    }
    if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
        let id = id.replace("%2D", "-").replace("%2E", ".");
        return (if state.lock().services.remove(&id).is_some() { 200 } else { 404 }, String::new(), 0);
    }
    let Some(name) = path.strip_prefix("/v1/health/service/") else { return (404, String::new(), 0) };
    if name == "broken" {
        return (500, "no leader".to_owned(), 0);
    }
    let after: u64 = query.split('&').find_map(|pair| pair.strip_prefix("index=")?.parse().ok()).unwrap_or(0);
    let mut changes = index.subscribe();
    changes.wait_for(|now| *now > after).await.unwrap();
    let services = state.lock().services.values().filter(|s| s["Name"] == name).cloned().collect::<Vec<_>>();
    let entries: Vec<_> =
        services.iter().map(|s| json!({"Node": {"Address": "10.0.0.9"}, "Service": s})).collect();
    (200, json!(entries).to_string(), *index.borrow())
}

async fn resolve(consul: &Consul, app_id: &str) -> Result<Vec<String>, String> {
    let request = ResolveRequest { app_id, namespace: "default", port: 1 };
    consul.resolve(&request).await.map_err(|e| e.to_string())
}

#[tokio::test]
async fn the_sidecar_registers_itself_and_leaves() {
    let agent = Agent::start().await;
    let configuration =
        json!({"SelfRegister": true, "selfDeregister": true, "tags": ["t"], "meta": {"a": "b"}});
    let consul = agent.connect(configuration).await.unwrap();
    let expected = json!({
        "ID": "me-127.0.0.1-3500",
        "Name": "me",
        "Address": "127.0.0.1",
        "Port": 8080,
        "Tags": ["t"],
        "Meta": {"a": "b", "DAPR_PORT": "50002"},
        "Checks": [{
            "Name": "Dapr Health Status",
            "CheckID": "daprHealth:me-127.0.0.1-3500",
            "Interval": "15s",
            "HTTP": "http://127.0.0.1:3500/v1.0/healthz?appid=me",
        }],
    });
    assert_eq!(agent.state.lock().services["me-127.0.0.1-3500"], expected);
    let head = agent.state.lock().seen[0].to_lowercase();
    assert!(head.contains("x-consul-token: secret") && head.contains("authorization: basic dtpw"), "{head}");
    assert_eq!(resolve(&consul, "me").await.unwrap(), ["127.0.0.1:50002"]);
    consul.close().await;
    assert!(agent.state.lock().services.is_empty());
    agent.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn instances_are_asked_for() {
    let agent = Agent::start().await;
    let consul = agent.connect(json!({"queryOptions": {"useCache": true, "near": "_agent"}})).await.unwrap();
    assert_eq!(resolve(&consul, "b").await.unwrap_err(), "no healthy services found with AppID 'b'");
    agent.add("b1", "b", "", "7");
    assert_eq!(resolve(&consul, "b").await.unwrap(), ["10.0.0.9:7"], "the node's address stands in");
    let last = agent.state.lock().seen.last().unwrap().clone();
    assert!(last.starts_with("GET /v1/health/service/b?near=%5Fagent&passing=1&cached "), "{last}");
    agent.add("b1", "b", "::1", "7");
    assert_eq!(resolve(&consul, "b").await.unwrap(), ["[::1]:7"]);
    agent.add("b1", "b", "host.example", "");
    assert_eq!(
        resolve(&consul, "b").await.unwrap_err(),
        "target service AppID 'b' found but DAPR_PORT missing from meta"
    );
    assert_eq!(
        resolve(&consul, "broken").await.unwrap_err(),
        "failed to query healthy consul services: Unexpected response code: 500 (no leader)"
    );
}

#[tokio::test]
async fn with_a_cache_changes_are_noticed_without_asking_again() {
    let agent = Agent::start().await;
    agent.add("b1", "b", "10.0.0.1", "7");
    let consul = agent.connect(json!({"useCache": true})).await.unwrap();
    let until = async |expected: &str| {
        let wait = async {
            while resolve(&consul, "b").await.ok().and_then(|found| found.into_iter().next()).as_deref()
                != Some(expected)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("{expected} comes"));
    };
    until("10.0.0.1:7").await;
    agent.add("b2", "b", "10.0.0.2", "8");
    agent.remove("b1");
    until("10.0.0.2:8").await;
    let before = agent.queries();
    for _ in 0..100 {
        resolve(&consul, "b").await.unwrap();
    }
    assert_eq!(agent.queries(), before, "known instances are not asked for");
    consul.close().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let error = connect(json!({"client": {"address": "127.0.0.1:1"}})).await.err().unwrap();
    assert!(error.starts_with("failed check on consul agent: "), "{error}");
    let error =
        connect(json!({"client": {"address": "127.0.0.1:1"}, "selfRegister": true})).await.err().unwrap();
    assert!(error.starts_with("failed to register consul service: "), "{error}");
    for configuration in [json!("x"), json!({"client": 5}), json!({"selfRegister": "yes"})] {
        let error = connect(configuration).await.err().unwrap();
        assert!(error.starts_with("error deserializing to configSpec: "), "{error}");
    }
    let error = connect(json!({"client": {"address": "unix:///x"}})).await.err().unwrap();
    assert_eq!(error, "unknown protocol scheme: unix");
}
