//! Binding: TCP addresses with retry, Unix sockets with clean-up.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

/// First pause between two tries to bind; doubles up to [`MAX_BIND_PAUSE`].
const FIRST_BIND_PAUSE: Duration = Duration::from_millis(100);
const MAX_BIND_PAUSE: Duration = Duration::from_millis(500);
/// How long an address in use is waited for (runtime.md §17).
pub const BIND_PATIENCE: Duration = Duration::from_secs(10);

/// A bound socket. A Unix socket's file goes when the listener does.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the socket's file when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub struct SocketFile(#[expect(dead_code, reason = "held for its drop")] Arc<SocketPath>);

#[derive(Debug)]
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address}: {source}")]
pub struct BindError {
    pub address: String,
    pub source: io::Error,
}

/// Binds `host:port`; an empty host means all interfaces. Retries while the
/// address is in use, at most `patience`.
pub async fn bind(host: &str, port: u16, patience: Duration) -> Result<Listener, BindError> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut pause = FIRST_BIND_PAUSE;
    loop {
        match bind_once(host, port).await {
            Ok(listener) => return Ok(Listener::Tcp(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if tokio::time::Instant::now() + pause > deadline {
                    return Err(bind_error(host, port, error));
                }
            }
            Err(error) => return Err(bind_error(host, port, error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_BIND_PAUSE);
    }
}

async fn bind_once(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        // Dual-stack first, as Go's listeners do; hosts without IPv6 fall back.
        return match TcpListener::bind(("::", port)).await {
            Ok(listener) => Ok(listener),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(e),
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
        };
    }
    TcpListener::bind((host, port)).await
}

fn bind_error(host: &str, port: u16, source: io::Error) -> BindError {
    BindError { address: format!("{host}:{port}"), source }
}

/// Binds a Unix socket, replacing a stale file.
pub fn bind_unix(path: &Path) -> Result<Listener, BindError> {
    let fail = |source| BindError { address: path.display().to_string(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    Ok(Listener::Unix(listener, SocketFile(Arc::new(SocketPath(path.to_owned())))))
}

impl Listener {
    /// A second listener on the same socket: connections go to whichever
    /// accepts first, and wait while none does.
    pub fn duplicate(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(l) => {
                let socket = std::net::TcpListener::from(l.as_fd().try_clone_to_owned()?);
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            Self::Unix(l, file) => {
                let socket = std::os::unix::net::UnixListener::from(l.as_fd().try_clone_to_owned()?);
                UnixListener::from_std(socket).map(|l| Self::Unix(l, file.clone()))
            }
        }
    }

    /// The TCP address; `None` for Unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(l) => l.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}
