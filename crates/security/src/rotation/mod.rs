//! When a certificate is asked for, put into use and renewed (control-plane.md
//! §4.2, §4.3): decisions only. The caller brings the time, chance and what
//! happened, and carries out the [`Effects`]. `sim/` runs years of it.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point of wall-clock time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How long it is from `earlier` until here; zero if that is no later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// When something may be used; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Time,
    pub not_after: Time,
}

impl Validity {
    pub fn contains(&self, now: Time) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Chance from outside, as a fraction of 65536.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance(pub u16);

impl Chance {
    /// Up to `part` of it, in proportion.
    fn of(self, part: u64) -> u64 {
        // At most 2^16 times a year of milliseconds: far from overflow, and saturating all the same.
        part.saturating_mul(u64::from(self.0)) >> 16
    }
}

/// What the authority granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of the leaf certificate.
    pub validity: Validity,
    /// Of the token that came with it.
    pub token_expiry: Option<Time>,
}

/// Why a request brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or no trustworthy one.
    Unreachable,
    /// The authority was reached and may well answer the next time.
    Busy,
    /// It refused, or its answer cannot be used.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The beginning.
    Started,
    /// The time of [`Effects::wake`] came.
    Woke,
    Issued(Terms),
    Failed(Failure),
    /// The set of trust anchors is a new one.
    AnchorsChanged {
        /// Whether the certificate in use leads to one of them.
        still_trusted: bool,
    },
}

/// What is to be done, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Put what was issued into use.
    pub install: bool,
    /// Make a key and ask the authority; one answer is expected as an event.
    pub request: bool,
    /// There will be no identity: end with the failure that was reported.
    pub give_up: bool,
    /// When to report [`Event::Woke`]; replaces what was asked before. `None`
    /// only while a request is under way or after `give_up`.
    pub wake: Option<Time>,
}

/// Longest sleep: clocks are set and machines are suspended.
const LONGEST_SLEEP: u64 = 60_000;
/// A certificate that is due at once is renewed no more often than this.
const SHORTEST_LIFE: u64 = 100;
/// Renewals come up to a twentieth of the lifetime before half of it, so that
/// sidecars that were started together part.
const EARLIER: u64 = 20;
/// Tries of one request while the authority is busy, and the pause between.
const TRIES: u32 = 5;
const TRY_PAUSE: u64 = 50;
/// After a failed renewal.
const RETRY_PAUSE: u64 = 10_000;
/// Without any identity nothing works: a sidecar that waits for the authority
/// tries more often. Doubles from the first to the longest.
const FIRST_DIAL_PAUSE: u64 = 100;
const LONGEST_DIAL_PAUSE: u64 = 2_000;

/// The state of one sidecar's identity.
#[derive(Clone, Debug)]
pub struct Rotation {
    phase: Phase,
    /// Whether a certificate is in use.
    identity: bool,
    tries: u32,
    dials: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to do before `due`; then the next request.
    Until {
        due: Time,
        /// Never further away than this: clocks are set back.
        within: u64,
        /// Whether the sleep that was asked for ends at `due`. However little
        /// of it the clock then shows, it is over.
        last: bool,
    },
    Requesting {
        /// The answer may be signed by an authority that nobody trusts now.
        again: bool,
    },
    Over,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { phase: Phase::Over, identity: false, tries: 0, dials: 0 }
    }
}

impl Rotation {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a certificate is in use, valid or not.
    pub fn has_identity(&self) -> bool {
        self.identity
    }

    pub fn step(&mut self, now: Time, chance: Chance, event: Event) -> Effects {
        match event {
            Event::Started => self.request(),
            Event::Woke => self.woke(now),
            Event::Issued(terms) => self.issued(now, chance, terms),
            Event::Failed(failure) => self.failed(now, chance, failure),
            Event::AnchorsChanged { still_trusted } => self.anchors_changed(now, still_trusted),
        }
    }

    fn request(&mut self) -> Effects {
        self.phase = Phase::Requesting { again: false };
        Effects { request: true, ..Effects::default() }
    }

    fn woke(&mut self, now: Time) -> Effects {
        match self.phase {
            Phase::Until { due, last, .. } if last || due <= now => self.request(),
            Phase::Until { .. } | Phase::Requesting { .. } | Phase::Over => self.sleep(now),
        }
    }

    fn issued(&mut self, now: Time, chance: Chance, terms: Terms) -> Effects {
        let Phase::Requesting { again } = self.phase else { return self.sleep(now) };
        (self.identity, self.tries, self.dials) = (true, 0, 0);
        if again {
            return Effects { install: true, ..self.request() };
        }
        let pause = renewal(now, chance, terms).0 - now.0;
        Effects { install: true, ..self.pause(now, pause) }
    }

    fn failed(&mut self, now: Time, chance: Chance, failure: Failure) -> Effects {
        if !matches!(self.phase, Phase::Requesting { .. }) {
            // An answer that nobody waits for changes nothing.
            return self.sleep(now);
        }
        if failure == Failure::Busy {
            self.tries += 1;
            if self.tries < TRIES {
                // A tenth of the pause either way.
                return self.pause(now, TRY_PAUSE - TRY_PAUSE / 10 + chance.of(TRY_PAUSE / 5));
            }
        }
        self.tries = 0;
        match (self.identity, failure) {
            (true, _) => self.pause(now, RETRY_PAUSE + chance.of(RETRY_PAUSE / 5)),
            (false, Failure::Unreachable) => {
                let pause =
                    FIRST_DIAL_PAUSE.checked_shl(self.dials).unwrap_or(u64::MAX).min(LONGEST_DIAL_PAUSE);
                // Enough doublings to reach the longest.
                self.dials = (self.dials + 1).min(16);
                self.pause(now, pause - chance.of(pause / 5))
            }
            (false, Failure::Busy | Failure::Refused) => {
                self.phase = Phase::Over;
                Effects { give_up: true, ..Effects::default() }
            }
        }
    }

    /// Peers that know only the new anchors refuse the old certificate: there
    /// is no time to wait for.
    fn anchors_changed(&mut self, now: Time, still_trusted: bool) -> Effects {
        match &mut self.phase {
            Phase::Over => Effects::default(),
            Phase::Requesting { again } => {
                *again |= self.identity && !still_trusted;
                Effects::default()
            }
            // Without identity the next try finds the new anchors anyway; waiting longer helps nobody.
            Phase::Until { .. } if !self.identity || !still_trusted => self.request(),
            Phase::Until { .. } => self.sleep(now),
        }
    }

    fn pause(&mut self, now: Time, millis: u64) -> Effects {
        self.phase = Phase::Until { due: now.plus(millis), within: millis, last: false };
        self.sleep(now)
    }

    /// Until the next request is due, if that is what is waited for.
    fn sleep(&mut self, now: Time) -> Effects {
        let Phase::Until { due, within, last } = &mut self.phase else { return Effects::default() };
        *due = now.plus(*within).min(*due);
        let wake = now.plus(LONGEST_SLEEP).min(*due);
        *last = wake == *due;
        Effects { wake: Some(wake), ..Effects::default() }
    }
}

/// Half of the leaf's lifetime, or of what remains of the token's, whichever
/// is over first.
fn renewal(now: Time, chance: Chance, terms: Terms) -> Time {
    let Validity { not_before, not_after } = terms.validity;
    let life = not_after.0.saturating_sub(not_before.0);
    let certificate = not_before.plus(life / 2).0;
    let half = match terms.token_expiry {
        Some(expiry) => certificate.min(now.0 + expiry.0.saturating_sub(now.0) / 2),
        None => certificate,
    };
    let earlier = half.saturating_sub(chance.of(life / EARLIER));
    Time(earlier).max(now.plus(SHORTEST_LIFE))
}
