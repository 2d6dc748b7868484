//! What a guest works on.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use wasmi::{StoreLimits, StoreLimitsBuilder};

/// Memory that one instance may have.
const MAX_MEMORY: usize = 256 << 20;

/// Request bodies stay readable for the next handler.
pub const BUFFER_REQUEST: u32 = 1;
/// Answers can be read and changed after the next handler.
pub const BUFFER_RESPONSE: u32 = 2;
/// What this host has; trailers are not among it.
const SUPPORTED: u32 = BUFFER_REQUEST | BUFFER_RESPONSE;

/// Of one instance of a guest.
pub struct State {
    pub config: Arc<str>,
    /// Asked for at the start, hence for all requests.
    pub features: u32,
    /// `None` at the start.
    pub exchange: Option<Exchange>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub clock: Clock,
    pub limits: StoreLimits,
}

impl State {
    pub fn new(config: Arc<str>, strict: bool) -> Self {
        let limits = StoreLimitsBuilder::new().memory_size(MAX_MEMORY).build();
        let clock = Clock::new(strict);
        Self { config, features: 0, exchange: None, stdout: Vec::new(), stderr: Vec::new(), clock, limits }
    }

    /// Adds features: what is on now.
    pub fn enable(&mut self, features: u32) -> u32 {
        let on = self.exchange.as_mut().map_or(&mut self.features, |exchange| &mut exchange.features);
        *on |= features & SUPPORTED;
        *on
    }
}

/// One request and its answer.
pub struct Exchange {
    pub features: u32,
    pub request: Parts,
    pub request_body: Content,
    pub status: Option<StatusCode>,
    pub headers: HeaderMap,
    pub response_body: Content,
    /// The next handler has answered.
    pub after_next: bool,
    /// Address and port of the caller.
    pub source: String,
}

/// A body on both ways.
#[derive(Default)]
pub struct Content {
    pub bytes: Bytes,
    /// How much of it the guest has read.
    pub read: usize,
    /// What the guest puts in its place.
    pub written: Option<Vec<u8>>,
}

impl Content {
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Appends; the first piece replaces what was there.
    pub fn write(&mut self, piece: &[u8]) {
        self.written.get_or_insert_default().extend_from_slice(piece);
    }
}

/// Time and chance; made up in a strict sandbox.
pub enum Clock {
    Real(std::time::Instant),
    Strict { wall_ns: u64, passed_ns: u64, random: fastrand::Rng },
}

/// How far made-up clocks go with every look at them.
const STRICT_STEP_NS: u64 = 1_000_000;
const STRICT_SEED: u64 = 42;

impl Clock {
    fn new(strict: bool) -> Self {
        if !strict {
            return Self::Real(std::time::Instant::now());
        }
        let wall_ns = wall().as_secs() * 1_000_000_000;
        Self::Strict { wall_ns, passed_ns: 0, random: fastrand::Rng::with_seed(STRICT_SEED) }
    }

    /// Nanoseconds since 1970.
    pub fn wall_ns(&mut self) -> u64 {
        match self {
            Self::Real(_) => u64::try_from(wall().as_nanos()).unwrap_or(u64::MAX),
            Self::Strict { wall_ns, .. } => {
                *wall_ns += STRICT_STEP_NS;
                *wall_ns
            }
        }
    }

    /// Nanoseconds since some time.
    pub fn passed_ns(&mut self) -> u64 {
        match self {
            Self::Real(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Self::Strict { passed_ns, .. } => {
                *passed_ns += STRICT_STEP_NS;
                *passed_ns
            }
        }
    }

    /// Whether there were random bytes to be had.
    pub fn fill(&mut self, bytes: &mut [u8]) -> bool {
        match self {
            Self::Real(_) => SystemRandom::new().fill(bytes).is_ok(),
            Self::Strict { random, .. } => {
                random.fill(bytes);
                true
            }
        }
    }
}

fn wall() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
