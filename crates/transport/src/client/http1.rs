use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::workers::WorkerId;
use http::{Request, Response};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ClientError;
use crate::Body;
use crate::connect::Destination;

#[derive(Clone, Debug)]
pub struct Http1Options {
    /// Connections open at once; further requests wait.
    pub max_connections: usize,
    /// Connections kept for the next request.
    pub max_idle: usize,
    /// Largest response head in bytes.
    pub max_response_head: usize,
}

impl Default for Http1Options {
    fn default() -> Self {
        // runtime.md §5: what the application channel keeps.
        Self { max_connections: 1024, max_idle: 64, max_response_head: 64 * 1024 }
    }
}

/// A pool of HTTP/1.1 connections to one destination. Cloning shares it.
///
/// A connection goes back when the response's body has been read; one whose
/// body is abandoned is closed.
#[derive(Clone)]
pub struct Http1Pool(Arc<Inner>);

struct Inner {
    destination: Destination,
    options: Http1Options,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
    tasks: TaskGroup,
}

struct Connection {
    sender: SendRequest<Body>,
    slot: OwnedSemaphorePermit,
    /// Whose event loop the connection is in.
    home: WorkerId,
}

impl Http1Pool {
    pub fn new(destination: Destination, options: Http1Options, tasks: TaskGroup) -> Self {
        let slots = Arc::new(Semaphore::new(options.max_connections));
        Self(Arc::new(Inner { destination, options, idle: Mutex::new(Vec::new()), slots, tasks }))
    }

    /// Sends one request; its URI is origin-form and it has a `Host` header.
    ///
    /// A kept connection that the peer closed in the meantime is replaced
    /// without the caller noticing, as long as the request did not leave.
    pub fn send(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ClientError>> + Send + use<'_> {
        // No async fn: its future would hold the request twice.
        let mut request = request;
        async move {
            while let Some(mut connection) = self.take_idle() {
                if connection.sender.ready().await.is_err() {
                    continue;
                }
                match connection.sender.try_send_request(std::mem::take(&mut request)).await {
                    Ok(response) => return Ok(self.hand_out(response, connection)),
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(ClientError::Broken(error.into_error().into())),
                    },
                }
            }
            // Boxed: most requests find a connection.
            Box::pin(self.send_on_new(request)).await
        }
    }

    async fn send_on_new(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let mut connection = self.connect().await?;
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok(self.hand_out(response, connection)),
            Err(error) => Err(ClientError::Broken(error.into_error().into())),
        }
    }

    /// The destination's `host:port`.
    pub fn authority(&self) -> String {
        self.0.destination.authority()
    }

    /// The connection of the caller's worker that was used last; one of
    /// another worker when no more may be opened.
    fn take_idle(&self) -> Option<Connection> {
        let here = WorkerId::current();
        let mut idle = self.0.idle.lock();
        match idle.iter().rposition(|c| c.home == here) {
            Some(index) => Some(idle.remove(index)),
            None if self.0.slots.available_permits() == 0 => idle.pop(),
            None => None,
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let slot = self.0.slots.clone().acquire_owned().await.map_err(|e| ClientError::Broken(e.into()))?;
        let stream = self.0.destination.connect().await.map_err(ClientError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.0.options.max_response_head.max(64 * 1024))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| ClientError::Broken(e.into()))?;
        self.0.tasks.spawn_until_drained("http client connection", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(target: "dapr.runtime", "Client connection ended: {error}");
            }
        });
        Ok(Connection { sender, slot, home: WorkerId::current() })
    }

    fn hand_out(&self, response: Response<hyper::body::Incoming>, connection: Connection) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let body = Body::from_incoming(body);
        let back = Return { connection: Some(connection), pool: self.0.clone() };
        if http_body::Body::is_end_stream(&body) {
            drop(back);
            return Response::from_parts(parts, body);
        }
        Response::from_parts(parts, body.guarded(back))
    }
}

/// Puts a connection back when dropped. One whose body was abandoned is found
/// closed by the next request's readiness check and thrown away there.
struct Return {
    connection: Option<Connection>,
    pool: Arc<Inner>,
}

impl Drop for Return {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle.lock();
        if idle.len() < self.pool.options.max_idle {
            idle.push(connection);
        }
        let _ = &idle.last().map(|c| &c.slot);
    }
}

impl std::fmt::Debug for Http1Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1Pool").field("destination", &self.0.destination).finish()
    }
}
