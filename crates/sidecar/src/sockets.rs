//! Listening sockets that outlive a sidecar: a restart in the process refuses
//! no connection (runtime.md §2.4).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dapr_transport::listen::{self, BIND_PATIENCE, BindError, Listener};
use parking_lot::Mutex;

/// Every listening socket of the process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<HashMap<String, Listener>>,
    keep: AtomicBool,
}

impl Sockets {
    /// The socket of `host:port`, bound now or by the sidecar before.
    pub async fn tcp(&self, host: &str, port: u16) -> Result<Listener, BindError> {
        let key = format!("{host}:{port}");
        if let Some(listener) = self.duplicate(&key) {
            return Ok(listener);
        }
        let listener = listen::bind(host, port, BIND_PATIENCE).await?;
        // Any free port was asked for: the next sidecar must get the same.
        self.remember(key, &listener);
        Ok(listener)
    }

    /// The socket at `path`, bound now or by the sidecar before.
    pub fn unix(&self, path: &Path) -> Result<Listener, BindError> {
        let key = path.display().to_string();
        if let Some(listener) = self.duplicate(&key) {
            return Ok(listener);
        }
        let listener = listen::bind_unix(path)?;
        self.remember(key, &listener);
        Ok(listener)
    }

    pub fn has(&self, host: &str, port: u16) -> bool {
        self.0.open.lock().contains_key(&format!("{host}:{port}"))
    }

    fn duplicate(&self, key: &str) -> Option<Listener> {
        self.0.open.lock().get(key).and_then(|l| l.duplicate().ok())
    }

    /// A socket that cannot be shared is simply bound again later.
    fn remember(&self, key: String, listener: &Listener) {
        if let Ok(own) = listener.duplicate() {
            self.0.open.lock().insert(key, own);
        }
    }

    /// A sidecar is about to end and another to follow: sockets stay open.
    pub fn keep_for_next(&self) {
        self.0.keep.store(true, Ordering::Release);
    }

    /// The next sidecar has begun.
    pub fn handed_over(&self) {
        self.0.keep.store(false, Ordering::Release);
    }

    /// Lets go of all sockets unless another sidecar follows: who connects to
    /// a process that ends is to be refused.
    pub fn release(&self) {
        if !self.0.keep.load(Ordering::Acquire) {
            self.0.open.lock().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_kept_for_the_next_sidecar_only_when_asked_for() {
        let sockets = Sockets::default();
        let first = sockets.tcp("127.0.0.1", 0).await.unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        sockets.keep_for_next();
        sockets.release();
        assert!(tokio::net::TcpStream::connect(address).await.is_ok());
        let second = sockets.tcp("127.0.0.1", 0).await.unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        drop(second);
        sockets.handed_over();
        sockets.release();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn the_file_of_a_unix_socket_goes_with_its_last_user() {
        let path = std::env::temp_dir().join(format!("dapr-sockets-{}", std::process::id()));
        let sockets = Sockets::default();
        drop(sockets.unix(&path).unwrap());
        assert!(path.exists());
        sockets.release();
        assert!(!path.exists());
    }
}
