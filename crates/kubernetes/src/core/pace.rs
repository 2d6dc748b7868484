//! When to watch on and when to list again (control-plane.md §11.4).

use std::time::Duration;

/// First pause before listing again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// Servers that end watches at once are polled at this rate at least: changes
/// that come without event must be seen within seconds.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// A watch that ended sooner without any event may not work at all.
const TOO_SHORT: Duration = Duration::from_secs(1);
/// Most that is added to a pause, as a share of it, so that many clients of a
/// restarted server do not come back together.
const JITTER: f64 = 0.5;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Watch on from the last version.
    Watch,
    /// List after this pause.
    List(Duration),
}

/// Decides by how watches end.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
}

impl Pace {
    /// A watch ended without error after `lasted`, with that many events.
    pub fn watch_ended(&mut self, lasted: Duration, events: usize, random: f64) -> Next {
        if events > 0 || lasted >= TOO_SHORT {
            self.failures = 0;
            return Next::Watch;
        }
        Next::List(self.pause(random))
    }

    /// A list or watch failed.
    pub fn failed(&mut self, random: f64) -> Next {
        Next::List(self.pause(random))
    }

    /// The server forgot the version: list at once.
    pub fn expired(&mut self) -> Next {
        Next::List(Duration::ZERO)
    }

    /// `random` is from 0 to 1.
    fn pause(&mut self, random: f64) -> Duration {
        let pause = (FIRST_PAUSE * 2u32.saturating_pow(self.failures.min(8))).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(1.0 + JITTER * random.clamp(0.0, 1.0))
    }
}
