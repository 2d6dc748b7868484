//! `lock.redis`.

use std::sync::Arc;

use dapr_redis::lock::RedisLock;

use crate::support::TestServer;
use dapr_conformance::harness::{context, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn locks_as_every_lock_store_does() {
    let server = TestServer::start().await;
    let store =
        RedisLock::connect(&context("lock.redis", &[("redisHost", &server.address())])).await.unwrap();
    dapr_conformance::lock::run(Arc::new(store)).await;
}

async fn refusal(items: &[(&str, &str)]) -> String {
    RedisLock::connect(&context("lock.redis", items)).await.err().expect("refused").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_could_lose_a_lock_are_refused() {
    assert_eq!(refusal(&[]).await, "metadata property redisHost is empty");
    assert_eq!(
        refusal(&[("redisHost", "127.0.0.1:1"), ("redisType", "cluster")]).await,
        "this component does not support connecting to Redis Cluster"
    );
    let gone = refusal(&[("redisHost", "127.0.0.1:1"), ("redisMaxRetries", "-1")]).await;
    assert!(gone.starts_with("error connecting to Redis: "), "{gone}");

    let server = TestServer::start().await;
    let port = server.port().to_string();
    let _replica = TestServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let host = server.address();
    eventually("the replica is known", async || {
        let items = [("redisHost", host.as_str())];
        match RedisLock::connect(&context("lock.redis", &items)).await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.to_string(), "replication is not supported");
                true
            }
        }
    })
    .await;
}
