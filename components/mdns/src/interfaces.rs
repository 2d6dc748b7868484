//! The network interfaces that multicast goes through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// Which interfaces a resolver uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceScope {
    /// Every interface that is up and can multicast, and loopback.
    #[default]
    All,
    /// Loopback only: nothing leaves the machine.
    Loopback,
    /// None: the local registry alone.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub index: u32,
    pub name: String,
    pub v4: Vec<(Ipv4Addr, u8)>,
    pub v6: Vec<(Ipv6Addr, u8)>,
}

impl Interface {
    /// Whether `peer` is a direct neighbour on this interface.
    pub fn leads_to(&self, peer: SocketAddr) -> bool {
        match peer {
            SocketAddr::V4(peer) => self.v4.iter().any(|(own, prefix)| {
                let mask = u32::MAX.checked_shl(32 - u32::from((*prefix).min(32))).unwrap_or(0);
                u32::from(*own) & mask == u32::from(*peer.ip()) & mask
            }),
            SocketAddr::V6(peer) if peer.ip().is_unicast_link_local() => peer.scope_id() == self.index,
            SocketAddr::V6(peer) => self.v6.iter().any(|(own, prefix)| {
                let mask = u128::MAX.checked_shl(128 - u32::from((*prefix).min(128))).unwrap_or(0);
                u128::from(*own) & mask == u128::from(*peer.ip()) & mask
            }),
        }
    }
}

/// Usable interfaces now. An error means that the system does not tell.
pub(crate) fn usable(scope: InterfaceScope) -> std::io::Result<Vec<Interface>> {
    if scope == InterfaceScope::None {
        return Ok(Vec::new());
    }
    let mut interfaces: Vec<Interface> = Vec::new();
    for found in getifaddrs()? {
        // Linux does not flag loopback as multicast, yet it is.
        let loopback = found.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let multicast = scope == InterfaceScope::All && found.flags.contains(InterfaceFlags::IFF_MULTICAST);
        if !found.flags.contains(InterfaceFlags::IFF_UP) || !(loopback || multicast) {
            continue;
        }
        let Some(ip) = found.address.as_ref().and_then(ip) else { continue };
        let position = match interfaces.iter().position(|i| i.name == found.interface_name) {
            Some(position) => position,
            None => {
                let Ok(index) = if_nametoindex(found.interface_name.as_str()) else { continue };
                let name = found.interface_name;
                interfaces.push(Interface { index, name, v4: Vec::new(), v6: Vec::new() });
                interfaces.len() - 1
            }
        };
        let prefix = found.netmask.as_ref().and_then(self::ip).map_or(u8::MAX, prefix_length);
        match ip {
            IpAddr::V4(ip) => interfaces[position].v4.push((ip, prefix)),
            IpAddr::V6(ip) => interfaces[position].v6.push((ip, prefix)),
        }
    }
    Ok(interfaces)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

fn prefix_length(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

/// Addresses that cannot come from beyond the site, whatever the interfaces.
/// Without any route, Linux sends multicast from the unspecified address.
pub(crate) fn is_local(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(v4: &str, v6: &str) -> Interface {
        let v4 = v4.split_once('/').map(|(ip, p)| (ip.parse().unwrap(), p.parse().unwrap()));
        let v6 = v6.split_once('/').map(|(ip, p)| (ip.parse().unwrap(), p.parse().unwrap()));
        Interface {
            index: 7,
            name: "eth0".into(),
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
        }
    }

    #[test]
    fn a_neighbour_is_told_by_prefix_or_by_link() {
        let eth = interface("192.0.2.2/24", "fd00::2/64");
        for peer in ["192.0.2.200:5353", "[fd00::99]:5353", "[fe80::1%7]:5353"] {
            assert!(eth.leads_to(peer.parse().unwrap()), "{peer}");
        }
        for peer in ["192.0.3.1:5353", "[fd01::99]:5353", "[fe80::1%8]:5353"] {
            assert!(!eth.leads_to(peer.parse().unwrap()), "{peer}");
        }
    }

    #[test]
    fn extreme_prefixes_do_not_overflow() {
        assert!(interface("10.0.0.1/0", "::1/0").leads_to("8.8.8.8:1".parse().unwrap()));
        assert!(interface("10.0.0.1/0", "::1/0").leads_to("[2001::1]:1".parse().unwrap()));
        let host = interface("10.0.0.1/32", "::1/128");
        assert!(
            host.leads_to("10.0.0.1:1".parse().unwrap()) && !host.leads_to("10.0.0.2:1".parse().unwrap())
        );
    }

    #[test]
    fn loopback_is_always_among_the_interfaces() {
        let own = usable(InterfaceScope::Loopback).unwrap();
        assert!(own.iter().any(|i| i.v4.iter().any(|(ip, _)| ip.is_loopback())), "{own:?}");
        assert!(usable(InterfaceScope::None).unwrap().is_empty());
    }
}
