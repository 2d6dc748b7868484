//! Ports of sidecars that are about to start.

use std::collections::HashSet;
use std::net::TcpListener;

use crate::instances::Sidecar;

/// A listener on all addresses, of both families where the machine has both.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

/// Hands out ports and holds them until the sidecar starts, so that neither two
/// listeners of one sidecar nor two commands at the same time get the same
/// (cli.md §12.13).
///
/// No process may be started while ports are held: a child drops the listeners
/// it inherits a moment after the start call returned, and would still accept
/// connections, or keep the sidecar from listening, after [`Ports::release`].
#[derive(Debug, Default)]
pub(super) struct Ports {
    taken: HashSet<i64>,
    held: Vec<TcpListener>,
}

impl Ports {
    /// Knows the ports of the sidecars that run already; some of those may not
    /// listen yet.
    pub fn beside(running: &[Sidecar]) -> Self {
        let taken = running.iter().flat_map(|one| [one.app_port, one.http_port, one.grpc_port]).collect();
        Self { taken, held: Vec::new() }
    }

    /// Never hands out `port`.
    pub fn avoid(&mut self, port: i64) {
        self.taken.insert(port);
    }

    /// Takes the wanted port, or any free one for zero and below.
    pub fn settle(&mut self, name: &str, wanted: i64) -> Result<i64, String> {
        if wanted <= 0 {
            return self.any();
        }
        let refused = || format!("invalid configuration for {name}. Port {wanted} is not available");
        let port = u16::try_from(wanted).map_err(|_| refused())?;
        if !self.taken.insert(wanted) {
            return Err(refused());
        }
        self.held.push(listen(port).map_err(|_| refused())?);
        Ok(wanted)
    }

    fn any(&mut self) -> Result<i64, String> {
        // A port that is refused stays held meanwhile, so the system offers
        // another one.
        let mut refused = Vec::new();
        loop {
            let failed = |error: std::io::Error| format!("no free port: {error}");
            let listener = listen(0).map_err(failed)?;
            let port = i64::from(listener.local_addr().map_err(failed)?.port());
            if self.taken.insert(port) {
                self.held.push(listener);
                return Ok(port);
            }
            refused.push(listener);
        }
    }

    /// Lets go of all ports, for the sidecar to take them.
    pub fn release(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_distinct_and_held() {
        let mut ports = Ports::default();
        let some: Vec<i64> = (0..20).map(|_| ports.settle("HTTPPort", -1).unwrap()).collect();
        assert_eq!(some.iter().collect::<HashSet<_>>().len(), 20);
        let port = u16::try_from(some[0]).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "still held");
        ports.release();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_fixed_port_must_be_free_and_unused() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = i64::from(other.local_addr().unwrap().port());
        let mut ports = Ports::default();
        let message = format!("invalid configuration for GRPCPort. Port {busy} is not available");
        assert_eq!(ports.settle("GRPCPort", busy), Err(message));
        drop(other);
        ports = Ports::default();
        assert_eq!(ports.settle("HTTPPort", busy), Ok(busy));
        assert!(ports.settle("GRPCPort", busy).is_err(), "twice for one sidecar");
        assert!(ports.settle("GRPCPort", 70000).is_err());
    }
}
