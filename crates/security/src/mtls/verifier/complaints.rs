//! What the log says of clients that are refused: who each claimed to be, and
//! no more lines than somebody can read.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::Error;
use rustls_pki_types::CertificateDer;

use super::in_words;
use crate::x509::Facts;

const SCOPE: &str = "dapr.runtime.security";
/// Lines within [`PERIOD`]: clients that try again and again must not fill a disk.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Longest name that is shown: the other side chose it.
const SHOWN: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    since: Option<Instant>,
    lines: u32,
    /// What was not said in the period before.
    silent: u64,
}

impl Complaints {
    pub fn refused(&self, leaf: &CertificateDer<'_>, error: &Error) {
        let Some(silent) = self.0.lock().line(Instant::now()) else { return };
        let more = if silent > 0 { format!(" ({silent} more were not logged)") } else { String::new() };
        tracing::warn!(
            target: SCOPE,
            "Refused a client that claims to be {}: {}{more}", claimed(leaf), in_words(error)
        );
    }
}

impl Count {
    /// Whether there is a line left, and how many went unsaid before it.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.silent += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.silent))
    }
}

/// The names in a certificate that proves nothing.
fn claimed(leaf: &CertificateDer<'_>) -> String {
    let uris = Facts::read(leaf).map(|facts| facts.uris).unwrap_or_default();
    if uris.is_empty() {
        return "nobody".to_owned();
    }
    let names: String = uris.join(", ").chars().take(SHOWN).collect();
    format!("\"{}\"", names.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_ten_lines_and_a_number() {
        let (mut count, start) = (Count::default(), Instant::now());
        let said = (0..100).filter(|_| count.line(start).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(count.line(start + PERIOD), Some(90));
        assert_eq!(count.line(start + PERIOD), Some(0));
    }
}
