//! A Redis server of our own, and commands beside the component under test.

use std::ops::{Deref, DerefMut};

use dapr_test_servers::Redis;

pub struct TestServer(Redis);

impl TestServer {
    pub async fn start() -> Self {
        Self(Redis::start().await)
    }

    /// With more arguments of `redis-server`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self(Redis::start_with(arguments).await)
    }

    /// Runs a command beside the component under test.
    pub async fn run(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(format!("redis://{}", self.address())).unwrap();
        let mut link = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut link).await.unwrap()
    }
}

impl Deref for TestServer {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        &self.0
    }
}

impl DerefMut for TestServer {
    fn deref_mut(&mut self) -> &mut Redis {
        &mut self.0
    }
}
