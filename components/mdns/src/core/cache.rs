//! Addresses of one application, handed out in turns.

use std::net::SocketAddr;
use std::time::Instant;

use super::ADDRESS_LIFETIME;

/// Addresses kept for one application. Whoever reaches the network may
/// announce, so there is a limit.
pub(super) const MAX_ADDRESSES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Multicast,
    Registry,
}

#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    text: String,
    origin: Origin,
    expires: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// IPv4 first.
    entries: Vec<Entry>,
    turn: usize,
}

impl Addresses {
    /// Next in turn; IPv6 only when there is no IPv4 (runtime.md §7).
    pub fn next(&mut self) -> Option<&str> {
        let v4 = self.entries.partition_point(|e| e.address.is_ipv4());
        let candidates = if v4 > 0 { &self.entries[..v4] } else { &self.entries[..] };
        if candidates.is_empty() {
            return None;
        }
        let index = self.turn % candidates.len();
        self.turn = self.turn.wrapping_add(1);
        Some(&candidates[index].text)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `address` or prolongs its life.
    pub fn add(&mut self, address: SocketAddr, origin: Origin, now: Instant) {
        let expires = now + ADDRESS_LIFETIME;
        if let Some(known) = self.entries.iter_mut().find(|e| e.address == address) {
            known.expires = expires;
            // Multicast knows best when an instance leaves.
            if origin == Origin::Multicast {
                known.origin = origin;
            }
            return;
        }
        if self.entries.len() < MAX_ADDRESSES {
            let position = if address.is_ipv4() {
                self.entries.partition_point(|e| e.address.is_ipv4())
            } else {
                self.entries.len()
            };
            self.entries.insert(position, Entry { address, text: address.to_string(), origin, expires });
        }
    }

    pub fn remove(&mut self, address: SocketAddr) {
        self.entries.retain(|e| e.address != address);
    }

    pub fn expire(&mut self, now: Instant) {
        self.entries.retain(|e| e.expires > now);
    }

    /// Drops what only the registry vouched for and no longer does.
    pub fn retain_registered(&mut self, registered: &[SocketAddr]) {
        self.entries.retain(|e| e.origin == Origin::Multicast || registered.contains(&e.address));
    }

    pub fn any_registered(&self) -> bool {
        self.entries.iter().any(|e| e.origin == Origin::Registry)
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.entries.iter().map(|e| e.expires).min()
    }

    /// Whether every address was heard of at `since` or later.
    pub fn all_renewed(&self, since: Instant) -> bool {
        self.entries.iter().all(|e| e.expires >= since + ADDRESS_LIFETIME)
    }
}
