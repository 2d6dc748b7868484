//! What this machine is called and how others reach it (runtime.md §1, §14).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use sha2::{Digest, Sha256};

/// First of the ports that are derived from the application's id.
const STABLE_BASE: u16 = 47300;
const STABLE_RANGE: u16 = 65535 - STABLE_BASE;

pub fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// The address that other sidecars are told: as configured, or the source
/// address that the system would use for the outside (no packet is sent).
pub fn address(configured: Option<&str>) -> Option<IpAddr> {
    if let Some(text) = configured {
        return text.parse().ok();
    }
    let outside = [("0.0.0.0:0", "192.0.2.1:80"), ("[::]:0", "[2001:db8::1]:80")];
    outside
        .iter()
        .find_map(|(bind, target)| source_address(bind, target))
        .or(Some(IpAddr::from([127, 0, 0, 1])))
}

fn source_address(bind: &str, target: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(bind).ok()?;
    socket.connect(target).ok()?;
    let address: SocketAddr = socket.local_addr().ok()?;
    (!address.ip().is_unspecified()).then(|| address.ip())
}

/// A listen address that only this machine reaches is what others are told.
pub fn advertised(listen: &str, host: IpAddr) -> IpAddr {
    match listen {
        "127.0.0.1" | "localhost" => IpAddr::from([127, 0, 0, 1]),
        "[::1]" | "::1" => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        _ => host,
    }
}

/// The port that an application's sidecar prefers on this machine.
pub fn stable_port(app_id: &str) -> u16 {
    let directory = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
    let uid = nix::unistd::getuid();
    let digest = Sha256::digest(format!("{app_id}|{directory}|{uid}|{}", hostname()));
    STABLE_BASE + u16::from_le_bytes([digest[0], digest[1]]) % STABLE_RANGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_ports_are_stable_and_in_range() {
        let port = stable_port("a");
        assert_eq!(port, stable_port("a"));
        assert!(port >= STABLE_BASE);
    }

    #[test]
    fn loopback_listeners_are_advertised_as_such() {
        let host = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(advertised("127.0.0.1", host), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(advertised("", host), host);
    }
}
