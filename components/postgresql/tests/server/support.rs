//! A PostgreSQL server of our own, and connections beside the component under
//! test.

use std::ops::{Deref, DerefMut};

use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_test_servers::Postgresql;
use tokio_postgres::{Client, NoTls};

pub struct TestServer(Postgresql);

impl TestServer {
    pub async fn start() -> Self {
        Self(Postgresql::start().await)
    }

    /// A connection beside the component under test.
    pub async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.connection_string(), NoTls).await.unwrap();
        TaskGroup::new(Shutdown::new()).spawn("client", connection);
        client
    }
}

impl Deref for TestServer {
    type Target = Postgresql;

    fn deref(&self) -> &Postgresql {
        &self.0
    }
}

impl DerefMut for TestServer {
    fn deref_mut(&mut self) -> &mut Postgresql {
        &mut self.0
    }
}
