//! When an application is asked for: the first lookup, its repetitions, and
//! the refreshes while its addresses are in use.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::cache::{Addresses, Origin};
use super::{
    BROWSE_LIMIT, BROWSE_REPEATS, Effect, REFRESH_ATTEMPTS, REFRESH_INTERVAL, REFRESH_RETRY, REGISTRY_GRACE,
};

/// One application that somebody here asked for.
#[derive(Debug)]
pub(super) struct App {
    query: Bytes,
    addresses: Addresses,
    /// Asked for since the last refresh: only those are refreshed again.
    used: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is scheduled; addresses expire.
    Idle,
    /// Callers wait for a first address.
    Browsing { started: Instant, queries: usize },
    /// Round `started` has sent `queries` queries.
    Refreshing { started: Instant, next: Instant, queries: u8 },
}

impl App {
    pub fn new(query: Bytes) -> Self {
        Self { query, addresses: Addresses::default(), used: true, phase: Phase::Idle }
    }

    pub fn next_address(&mut self) -> Option<&str> {
        self.used = true;
        self.addresses.next()
    }

    pub fn start_browse(&mut self, now: Instant) {
        if self.addresses.is_empty() && !matches!(self.phase, Phase::Browsing { .. }) {
            self.phase = Phase::Browsing { started: now, queries: 0 };
        }
    }

    pub fn learn(&mut self, address: SocketAddr, origin: Origin, now: Instant) {
        self.addresses.add(address, origin, now);
    }

    pub fn forget(&mut self, address: SocketAddr) {
        self.addresses.remove(address);
    }

    pub fn retain_registered(&mut self, registered: &[SocketAddr]) {
        self.addresses.retain_registered(registered);
    }

    /// Ends the first lookup once there is an address, and goes on to look for
    /// further instances.
    pub fn settle(&mut self, app_id: &str, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Browsing { .. }) && !self.addresses.is_empty() {
            // The query that was answered counts as the first of the round;
            // one more finds instances whose answer was lost.
            self.phase = Phase::Refreshing { started: now, next: now + REFRESH_RETRY, queries: 0 };
            effects.push(Effect::Resolved(app_id.to_owned()));
        }
    }

    pub fn tick(&mut self, app_id: &str, now: Instant, multicast: bool, effects: &mut Vec<Effect>) {
        self.addresses.expire(now);
        match self.phase {
            Phase::Idle => {}
            Phase::Browsing { started, queries } => {
                self.tick_browse(app_id, (started, queries), now, multicast, effects);
            }
            Phase::Refreshing { next, .. } if self.addresses.is_empty() || now < next => {
                if self.addresses.is_empty() {
                    self.phase = Phase::Idle;
                }
            }
            Phase::Refreshing { started, queries, .. } => {
                self.tick_refresh(app_id, (started, queries), now, effects);
            }
        }
    }

    fn tick_browse(
        &mut self,
        app_id: &str,
        (started, queries): (Instant, usize),
        now: Instant,
        multicast: bool,
        effects: &mut Vec<Effect>,
    ) {
        if now >= started + BROWSE_LIMIT {
            self.phase = Phase::Idle;
            effects.push(Effect::NotFound(app_id.to_owned()));
            return;
        }
        let due = BROWSE_REPEATS.iter().filter(|after| started + **after <= now).count() + 1;
        if queries < due {
            self.phase = Phase::Browsing { started, queries: due };
            effects.push(Effect::MulticastAll(self.query.clone()));
            if !multicast || now >= started + REGISTRY_GRACE {
                effects.push(Effect::ReadRegistry(app_id.to_owned()));
            }
        }
    }

    fn tick_refresh(
        &mut self,
        app_id: &str,
        (mut started, mut queries): (Instant, u8),
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if now >= started + REFRESH_INTERVAL {
            if !self.used {
                self.phase = Phase::Idle;
                return;
            }
            self.used = false;
            (started, queries) = (now, 0);
        }
        let complete = queries > 0 && self.addresses.all_renewed(started);
        if complete || queries >= REFRESH_ATTEMPTS {
            self.phase = Phase::Refreshing { started, next: started + REFRESH_INTERVAL, queries };
            return;
        }
        effects.push(Effect::MulticastAll(self.query.clone()));
        if self.addresses.any_registered() {
            effects.push(Effect::ReadRegistry(app_id.to_owned()));
        }
        self.phase = Phase::Refreshing { started, next: now + REFRESH_RETRY, queries: queries + 1 };
    }

    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Idle => None,
            Phase::Browsing { started, queries: 0 } => Some(started),
            Phase::Browsing { started, queries } => {
                Some(started + BROWSE_REPEATS.get(queries - 1).copied().unwrap_or(BROWSE_LIMIT))
            }
            Phase::Refreshing { next, .. } => Some(next),
        };
        phase.into_iter().chain(self.addresses.next_expiry()).min()
    }

    /// Nothing known, nobody waiting.
    pub fn is_forgotten(&self) -> bool {
        self.addresses.is_empty() && matches!(self.phase, Phase::Idle)
    }
}
