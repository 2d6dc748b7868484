//! What happened within a sliding window of time, in a few buckets.

/// Counts of one bucket, or of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Requests that were let in.
    pub passed: u64,
    /// Requests that were answered.
    pub completed: u64,
    /// Of the answered, those that a breaker counts against the resource.
    pub bad: u64,
    /// Milliseconds that all answers took together.
    pub took: u64,
    /// Milliseconds of the fastest answer.
    pub fastest: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { passed: 0, completed: 0, bad: 0, took: 0, fastest: SLOWEST }
    }
}

/// A minute: what the fastest answer took when there was none.
const SLOWEST: u64 = 60_000;

/// Times are milliseconds on any clock that does not go back.
#[derive(Debug)]
pub struct Window {
    bucket_ms: u64,
    /// Beginning and counts; the place of a bucket follows from its beginning.
    buckets: Vec<(u64, Counts)>,
}

impl Window {
    /// `interval_ms` in `buckets` of equal length; both at least one.
    pub fn new(interval_ms: u64, buckets: u64) -> Self {
        let buckets = buckets.clamp(1, interval_ms.max(1));
        let bucket_ms = (interval_ms / buckets).max(1);
        // Beginnings no time can have: nothing is counted of before the start.
        Self { bucket_ms, buckets: vec![(u64::MAX, Counts::default()); buckets as usize] }
    }

    pub fn bucket_ms(&self) -> u64 {
        self.bucket_ms
    }

    pub fn seconds(&self) -> f64 {
        (self.bucket_ms * self.buckets.len() as u64) as f64 / 1000.0
    }

    /// The bucket of `now`, emptied if it was of an earlier round.
    pub fn current(&mut self, now: u64) -> &mut Counts {
        let place = (now / self.bucket_ms) as usize % self.buckets.len();
        let begins = now - now % self.bucket_ms;
        let bucket = &mut self.buckets[place];
        if bucket.0 != begins {
            *bucket = (begins, Counts::default());
        }
        &mut bucket.1
    }

    fn within(&self, now: u64) -> impl Iterator<Item = &Counts> {
        let interval = self.bucket_ms * self.buckets.len() as u64;
        self.buckets
            .iter()
            .filter(move |(begins, _)| *begins <= now && now - *begins < interval)
            .map(|(_, counts)| counts)
    }

    pub fn sum(&self, now: u64) -> Counts {
        self.within(now).fold(Counts::default(), |all, one| Counts {
            passed: all.passed + one.passed,
            completed: all.completed + one.completed,
            bad: all.bad + one.bad,
            took: all.took + one.took,
            fastest: all.fastest.min(one.fastest),
        })
    }

    /// Answers per second in the best bucket.
    pub fn best_rate(&self, now: u64) -> f64 {
        let most = self.within(now).map(|c| c.completed).max().unwrap_or(0);
        most as f64 * self.buckets.len() as f64 / self.seconds()
    }

    pub fn clear(&mut self) {
        for bucket in &mut self.buckets {
            *bucket = (u64::MAX, Counts::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_no_longer_counts() {
        let mut window = Window::new(1000, 2);
        window.current(100).passed += 3;
        window.current(600).passed += 2;
        assert_eq!(window.sum(900).passed, 5);
        assert_eq!(window.sum(1000).passed, 2);
        assert_eq!(window.sum(1500).passed, 0);
        window.current(1100).passed += 1;
        assert_eq!(window.sum(1100).passed, 3);
        window.clear();
        assert_eq!(window.sum(1100), Counts::default());
    }
}
