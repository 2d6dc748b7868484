//! The two multicast sockets of a resolver, IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use crate::core::PORT;
use crate::interfaces::{self, Interface, InterfaceScope};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// RFC 6762 §11.
const HOP_LIMIT: u32 = 255;
/// Largest packet, headers included (RFC 6762 §17).
pub(crate) const MAX_PACKET: usize = 9000;
/// Interfaces are listed again at most this often.
const LISTING_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Network {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    scope: InterfaceScope,
    interfaces: Vec<Interface>,
    listed: Instant,
}

impl Network {
    /// Binds and joins. What is not available is left out: `problem` tells why
    /// there is no socket at all.
    pub fn open(scope: InterfaceScope) -> (Self, Option<String>) {
        let none = |interfaces| Self { v4: None, v6: None, scope, interfaces, listed: Instant::now() };
        let interfaces = match interfaces::usable(scope) {
            Ok(interfaces) => interfaces,
            Err(e) => return (none(Vec::new()), Some(format!("cannot list network interfaces: {e}"))),
        };
        if interfaces.is_empty() {
            return (none(interfaces), Some("no network interface can multicast".to_owned()));
        }
        let (v4, v6) = (open_v4(&interfaces), open_v6(&interfaces));
        let problem = match (&v4, &v6) {
            (Err(v4), Err(v6)) => Some(format!("cannot join on IPv4 ({v4}) nor IPv6 ({v6})")),
            _ => None,
        };
        (Self { v4: v4.ok(), v6: v6.ok(), scope, interfaces, listed: Instant::now() }, problem)
    }

    pub fn is_open(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }

    /// Waits until a packet may be there; for ever without sockets.
    pub async fn readable(&self) {
        tokio::select! {
            () = readable(self.v4.as_ref()) => {}
            () = readable(self.v6.as_ref()) => {}
        }
    }

    /// Next packet, whoever sent it.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        [&self.v4, &self.v6].into_iter().flatten().find_map(|socket| socket.try_recv_from(buffer).ok())
    }

    /// Whether `from` is on the local network. The port is open to the world,
    /// the protocol is not meant for it (RFC 6762 §11).
    pub fn is_neighbour(&self, from: SocketAddr) -> bool {
        interfaces::is_local(from.ip()) || self.interfaces.iter().any(|i| i.leads_to(from))
    }

    /// Sends through every interface, after a look for new ones. Returns how
    /// many sends worked.
    pub fn multicast_all(&mut self, packet: &[u8]) -> usize {
        self.relist();
        self.interfaces.iter().map(|i| self.send(i, packet, true) + self.send(i, packet, false)).sum()
    }

    /// Sends through the interface of `near`, in its address family; through
    /// all where that is not clear.
    pub fn multicast(&self, packet: &[u8], near: SocketAddr) {
        let v4 = near.is_ipv4();
        match self.interfaces.iter().find(|i| i.leads_to(near)) {
            Some(interface) => {
                self.send(interface, packet, v4);
            }
            None => self.interfaces.iter().for_each(|i| {
                self.send(i, packet, v4);
            }),
        }
    }

    pub fn unicast(&self, packet: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(Err(e)) = socket.as_ref().map(|s| send(s, packet, to)) {
            tracing::debug!(target: "dapr.contrib", "mDNS answer to {to} failed: {e}");
        }
    }

    fn send(&self, interface: &Interface, packet: &[u8], v4: bool) -> usize {
        let sent = if v4 {
            let (Some(socket), Some((own, _))) = (&self.v4, interface.v4.first()) else { return 0 };
            SockRef::from(socket)
                .set_multicast_if_v4(own)
                .and_then(|()| send(socket, packet, (GROUP_V4, PORT).into()))
        } else {
            let (Some(socket), false) = (&self.v6, interface.v6.is_empty()) else { return 0 };
            let to = SocketAddrV6::new(GROUP_V6, PORT, 0, interface.index);
            send(socket, packet, to.into())
        };
        match sent {
            Ok(_) => 1,
            Err(e) => {
                tracing::debug!(target: "dapr.contrib", "mDNS packet on {} failed: {e}", interface.name);
                0
            }
        }
    }

    /// Laptops change networks: whatever came up since takes part.
    fn relist(&mut self) {
        if self.listed.elapsed() < LISTING_INTERVAL {
            return;
        }
        self.listed = Instant::now();
        let Ok(interfaces) = interfaces::usable(self.scope) else { return };
        if interfaces == self.interfaces && self.is_open() || interfaces.is_empty() {
            return;
        }
        // Joining again what was joined before is refused, and harmless.
        match &self.v4 {
            Some(socket) => drop(join_v4(&SockRef::from(socket), &interfaces)),
            None => self.v4 = open_v4(&interfaces).ok(),
        }
        match &self.v6 {
            Some(socket) => drop(join_v6(&SockRef::from(socket), &interfaces)),
            None => self.v6 = open_v6(&interfaces).ok(),
        }
        self.interfaces = interfaces;
    }
}

/// Sends at once or not at all. Past tokio, whose sockets refuse to send until
/// the runtime has seen them ready once.
fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> io::Result<usize> {
    SockRef::from(socket).send_to(packet, &to.into())
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error shows again, and is dealt with, when reading.
        Some(socket) => {
            let _ = socket.readable().await;
        }
        None => std::future::pending().await,
    }
}

fn open_v4(interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = shared_socket(Domain::IPV4)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(HOP_LIMIT)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT).into())?;
    join_v4(&SockRef::from(&socket), interfaces)?;
    UdpSocket::from_std(socket.into())
}

fn open_v6(interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = shared_socket(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    socket.bind(&SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT).into())?;
    join_v6(&SockRef::from(&socket), interfaces)?;
    UdpSocket::from_std(socket.into())
}

/// Every sidecar of a machine, and its system services, share the port.
fn shared_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn join_v4(socket: &Socket, interfaces: &[Interface]) -> io::Result<()> {
    any_of(interfaces.iter().filter(|i| !i.v4.is_empty()), |i| {
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(i.index))
    })
}

fn join_v6(socket: &Socket, interfaces: &[Interface]) -> io::Result<()> {
    any_of(interfaces.iter().filter(|i| !i.v6.is_empty()), |i| socket.join_multicast_v6(&GROUP_V6, i.index))
}

/// Works if it does for one interface; else the last error.
fn any_of<'a>(
    interfaces: impl Iterator<Item = &'a Interface>,
    join: impl Fn(&Interface) -> io::Result<()>,
) -> io::Result<()> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no interface with an address"));
    for interface in interfaces {
        match join(interface) {
            Ok(()) => outcome = Ok(()),
            Err(e) if outcome.is_err() => outcome = Err(e),
            Err(_) => {}
        }
    }
    outcome
}
