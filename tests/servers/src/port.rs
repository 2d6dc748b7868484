use std::net::TcpListener;

/// Below the range the kernel hands out to outgoing connections, so that no
/// client socket of another test takes a port between the choice and its use.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A TCP port nobody on this machine listens on.
pub fn free_port() -> u16 {
    taken_port().0
}

/// A port together with the listener that occupies it.
pub fn taken_port() -> (u16, TcpListener) {
    for _ in 0..1000 {
        let port = fastrand::u16(PORTS);
        // Every address and loopback alone: a listener on only one of the two is a conflict as well.
        let Ok(all) = TcpListener::bind(("0.0.0.0", port)) else { continue };
        drop(all);
        if let Ok(loopback) = TcpListener::bind(("127.0.0.1", port)) {
            return (port, loopback);
        }
    }
    panic!("no free TCP port in {PORTS:?}");
}
