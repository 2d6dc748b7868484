//! Dialling: TCP, Unix sockets, and TLS supplied from above.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::io::Io;

pub use crate::io::{BoxStream, Stream};
type Wrapped = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send>>;

/// Wraps a fresh TCP connection, such as in TLS. The TLS settings themselves
/// live in the security crate.
pub type Wrapper = Arc<dyn Fn(TcpStream) -> Wrapped + Send + Sync>;

/// Where a pool connects to.
#[derive(Clone)]
pub struct Destination {
    target: Target,
    wrapper: Option<Wrapper>,
    timeout: Duration,
}

#[derive(Clone)]
enum Target {
    /// `host:port`.
    Tcp(Arc<str>),
    Unix(PathBuf),
}

impl Destination {
    /// `address` is `host:port`, IPv6 in brackets.
    pub fn tcp(address: impl Into<Arc<str>>, timeout: Duration) -> Self {
        Self { target: Target::Tcp(address.into()), wrapper: None, timeout }
    }

    pub fn unix(path: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self { target: Target::Unix(path.into()), wrapper: None, timeout }
    }

    #[must_use]
    pub fn wrapped(mut self, wrapper: Wrapper) -> Self {
        self.wrapper = Some(wrapper);
        self
    }

    /// The address as it appears in `Host` and messages.
    pub fn authority(&self) -> String {
        match &self.target {
            Target::Tcp(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether a connection can be made; it is closed at once.
    pub async fn probe(&self) -> io::Result<()> {
        self.connect().await.map(drop)
    }

    pub(crate) async fn connect(&self) -> io::Result<Io> {
        tokio::time::timeout(self.timeout, self.dial()).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("dial {}: i/o timeout", self.authority())))
        })
    }

    async fn dial(&self) -> io::Result<Io> {
        match &self.target {
            Target::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
            Target::Tcp(address) => {
                let stream = TcpStream::connect(&**address).await.map_err(|e| dial_error(address, &e))?;
                stream.set_nodelay(true)?;
                match &self.wrapper {
                    Some(wrap) => wrap(stream).await.map(Io::Wrapped),
                    None => Ok(Io::Tcp(stream)),
                }
            }
        }
    }
}

/// Reads like the dial errors that clients of the reference see.
fn dial_error(address: &str, error: &io::Error) -> io::Error {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("dial tcp {address}: {reason}"))
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Destination").field(&self.authority()).finish()
    }
}
