//! Sidecars that renew their certificates for two years (control-plane.md
//! §4.2, §4.3): hourly leaves, yearly roots that are replaced with overlap and
//! now and then without, an authority that is away for hours, sidecars that
//! restart, clocks that are wrong and are set, as far as the allowance goes.
//!
//! What must hold: two peers whose certificates are good shake hands; a sidecar
//! that can reach the authority has a good certificate; nothing is accepted
//! outside its validity or after its root was withdrawn; requests never
//! overlap, and nobody waits for nothing.

mod sidecar;
#[cfg(test)]
mod tests;
mod world;

use std::fmt;

pub use world::World;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

pub const TWO_YEARS: u64 = 2 * 365 * DAY;

/// Lifetime of a leaf, and how far back it begins: what clocks may differ from
/// the authority's.
const LEAF: u64 = HOUR;
const ALLOWANCE: u64 = 15 * MINUTE;
const ROOT: u64 = 365 * DAY;
/// Until every sidecar has a new file of anchors.
const PROPAGATION: u64 = HOUR;
/// Between publishing a root, signing with it, and withdrawing the old one.
const OVERLAP: u64 = DAY;
/// From the moment the authority can be reached until there is a good
/// certificate: the pause after a failure, a dial that hangs, and the answer.
const RECOVERY: u64 = 30 * SECOND;
const SIDECARS: usize = 3;
const NEVER: u64 = u64::MAX;

/// How much a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub issued: u64,
    pub handshakes: u64,
    /// Those of two peers with good certificates.
    pub healthy: u64,
    pub refused: u64,
    pub restarts: u64,
    pub outages: u64,
    pub roots: u64,
}

/// Something that must not happen, and the seed that makes it happen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    /// Milliseconds since the beginning.
    pub at: u64,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, hour) = (self.at / DAY, self.at % DAY / HOUR);
        write!(f, "seed {}, day {day} hour {hour} (+{} ms): {}", self.seed, self.at, self.what)
    }
}

/// Runs one seed for `length` milliseconds.
pub fn run(seed: u64, length: u64) -> Result<Seen, Violation> {
    let mut world = World::new(seed);
    while world.elapsed() < length {
        world.advance()?;
    }
    Ok(world.seen())
}
