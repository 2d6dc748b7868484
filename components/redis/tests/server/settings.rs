//! Ways to reach a server: password, database, sentinel, cluster, TLS.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::pubsub::{
    HandlerError, Message, MessageHandler, PubSub, PublishRequest, SubscribeRequest,
};
use dapr_components::state::{GetRequest, SetRequest, StateStore, Value};
use dapr_kernel::Shutdown;
use dapr_redis::pubsub::RedisStreams;
use dapr_redis::state::RedisStore;
use tokio::sync::mpsc;

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};
use dapr_test_servers::free_port;

async fn round_trip(items: &[(&str, &str)]) -> Result<(), String> {
    let store = RedisStore::connect(&context("state.redis", items)).await.map_err(|e| e.to_string())?;
    let set = SetRequest::new("k", Value::Bytes("v".into()));
    store.set(&set).await.map_err(|e| e.to_string())?;
    let get = GetRequest { key: "k".to_owned(), ..GetRequest::default() };
    let item = store.get(&get).await.map_err(|e| e.to_string())?.ok_or("missing")?;
    assert_eq!(item.data, "v");
    Ok(())
}

#[tokio::test]
async fn user_password_and_database() {
    let server = TestServer::start().await;
    server.run(&["ACL", "SETUSER", "alice", "on", ">secret", "~*", "&*", "+@all"]).await;
    let port = server.port().to_string();
    let base = [("redisHost", "127.0.0.1"), ("redisPort", &port), ("redisDB", "3")];
    let login = [("redisUsername", "alice"), ("redisPassword", "secret")];
    round_trip(&[&base[..], &login].concat()).await.unwrap();
    let keys: i64 = redis::from_redis_value(server.run(&["EXISTS", "k"]).await).unwrap();
    assert_eq!(keys, 0, "the key is in database 3");
    let wrong = [("redisUsername", "alice"), ("redisPassword", "wrong"), ("redisMaxRetries", "-1")];
    let error = round_trip(&[&base[..], &wrong].concat()).await.unwrap_err();
    assert!(error.contains("error connecting to redis at"), "{error}");
}

#[tokio::test]
async fn a_sentinel_names_the_node() {
    let server = TestServer::start().await;
    let sentinel_port = free_port();
    let config = server.file("sentinel.conf");
    let text = format!(
        "port {sentinel_port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n",
        config.parent().unwrap().display(),
        server.port()
    );
    std::fs::write(&config, text).unwrap();
    let mut sentinel = std::process::Command::new("redis-server")
        .arg(&config)
        .arg("--sentinel")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let host = format!("127.0.0.1:{sentinel_port}");
    let items = [
        ("redisHost", host.as_str()),
        ("failover", "true"),
        ("sentinelMasterName", "main"),
        ("redisMaxRetries", "-1"),
    ];
    let mut last = Err(String::new());
    for _ in 0..100 {
        last = round_trip(&items).await;
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sentinel.kill().unwrap();
    sentinel.wait().unwrap();
    last.unwrap();
}

#[tokio::test]
async fn a_cluster_of_one_node() {
    let server = TestServer::start_with(&["--cluster-enabled", "yes"]).await;
    server.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    eventually("the cluster is up", async || {
        let info: String = redis::from_redis_value(server.run(&["CLUSTER", "INFO"]).await).unwrap();
        info.contains("cluster_state:ok")
    })
    .await;
    let host = server.address();
    round_trip(&[("redisHost", &host), ("redisType", "cluster")]).await.unwrap();

    let context = context("pubsub.redis", &[("redisHost", &host), ("redisType", "cluster")]);
    let bus = RedisStreams::connect(&context).await.unwrap();
    let (sender, mut messages) = mpsc::unbounded_channel();
    let request = SubscribeRequest { topic: "topic".to_owned(), ..SubscribeRequest::default() };
    bus.subscribe(request, Shutdown::new(), Arc::new(Forward(sender))).await.unwrap();
    let request =
        PublishRequest { topic: "topic".to_owned(), data: "hello".into(), ..PublishRequest::default() };
    bus.publish(request).await.unwrap();
    let message = tokio::time::timeout(Duration::from_secs(30), messages.recv()).await.unwrap().unwrap();
    assert_eq!(message.data, "hello");
}

struct Forward(mpsc::UnboundedSender<Message>);

#[async_trait]
impl MessageHandler for Forward {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        self.0.send(message).map_err(|e| HandlerError::Failed(e.to_string()))
    }
}

#[tokio::test]
async fn tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &certificate).unwrap();
    std::fs::write(path("key.pem"), &key).unwrap();
    let port = free_port().to_string();
    let _server = TestServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("cert.pem"),
    ])
    .await;
    let base = [
        ("redisHost", "localhost"),
        ("redisPort", port.as_str()),
        ("enableTLS", "true"),
        ("clientCert", &certificate),
        ("clientKey", &key),
        ("redisMaxRetries", "-1"),
    ];
    let lenient = [("insecureSkipTLSVerify", "true")];
    round_trip(&[&base[..], &lenient].concat()).await.unwrap();
    let error = round_trip(&base).await.unwrap_err();
    assert!(error.contains("certificate"), "a certificate that nobody vouches for: {error}");
}
