//! When the authority's own serving certificate is renewed.

use std::time::{Duration, SystemTime};

/// Pause between two renewals at least: certificates that last seconds must
/// not keep a processor busy.
const SHORTEST: Duration = Duration::from_secs(1);
/// The clock is looked at this often: it may be set while we sleep.
const LONGEST: Duration = Duration::from_secs(60);

/// `None` when it is time to renew, else how long to sleep before asking again.
/// A certificate is renewed at half of its validity.
pub fn renewal(
    not_before: SystemTime,
    not_after: SystemTime,
    issued: SystemTime,
    now: SystemTime,
) -> Option<Duration> {
    let half = not_after.duration_since(not_before).unwrap_or_default() / 2;
    let at = (not_before + half).max(issued + SHORTEST);
    match at.duration_since(now) {
        Ok(left) if !left.is_zero() => Some(left.min(LONGEST)),
        _ => None,
    }
}
