//! Which traces are recorded.

use std::fmt;

use super::context::{TraceContext, TraceId};
use crate::metrics::format_float;

/// The rate where none is given or it is not a number.
const DEFAULT_RATE: f64 = 1e-4;
/// `2^63`: half of a trace id is compared without its lowest bit.
const RANGE: f64 = 9_223_372_036_854_775_808.0;

/// Follows the caller's decision; a trace that begins here is recorded with a
/// probability that its id decides, the same in every process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    rate: f64,
    /// Ids below are recorded; `None` for all of them.
    bound: Option<u64>,
}

impl Sampler {
    /// From `samplingRate`.
    pub fn parse(rate: &str) -> Self {
        Self::new(rate.parse().unwrap_or(DEFAULT_RATE))
    }

    pub fn new(rate: f64) -> Self {
        let bound = if rate >= 1.0 { None } else { Some((rate.max(0.0) * RANGE) as u64) };
        Self { rate, bound }
    }

    /// Whether the rate is anything but exactly 0, which turns tracing off.
    pub fn is_enabled(&self) -> bool {
        self.rate != 0.0
    }

    /// `parent` is a valid context of the caller.
    pub fn samples(&self, trace: TraceId, parent: Option<&TraceContext>) -> bool {
        if let Some(parent) = parent {
            return parent.is_sampled();
        }
        let Some(bound) = self.bound else { return true };
        let [.., a, b, c, d, e, f, g, h] = trace.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1) < bound
    }
}

/// As the start announces it.
impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.bound {
            None => "AlwaysOnSampler".to_owned(),
            Some(_) => format!("TraceIDRatioBased{{{}}}", format_float(self.rate.max(0.0))),
        };
        write!(
            f,
            "ParentBased{{root:{root},remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_dapr_reads_them() {
        let shown = |rate: &str| Sampler::parse(rate).to_string();
        assert!(shown("1").starts_with("ParentBased{root:AlwaysOnSampler,"));
        assert!(shown("0.5").starts_with("ParentBased{root:TraceIDRatioBased{0.5},"));
        assert!(shown("").starts_with("ParentBased{root:TraceIDRatioBased{0.0001},"));
        assert!(shown("much").starts_with("ParentBased{root:TraceIDRatioBased{0.0001},"));
        assert!(shown("0").starts_with("ParentBased{root:TraceIDRatioBased{0},"));
        assert!(!Sampler::parse("0").is_enabled() && !Sampler::parse("0.0").is_enabled());
        assert!(Sampler::parse("").is_enabled());
    }

    #[test]
    fn the_id_decides_and_the_parent_wins() {
        let mut low = TraceId([0; 16]);
        low.0[15] = 1;
        let high = TraceId([0xff; 16]);
        let half = Sampler::new(0.5);
        assert!(half.samples(low, None) && !half.samples(high, None));
        assert!(Sampler::new(1.0).samples(high, None) && !Sampler::new(0.0).samples(low, None));
        let parent = TraceContext { flags: 1, ..TraceContext::default() };
        assert!(Sampler::new(0.0).samples(high, Some(&parent)));
        assert!(!Sampler::new(1.0).samples(low, Some(&TraceContext::default())));
    }

    #[test]
    fn the_share_of_sampled_traces_is_the_rate() {
        let tenth = Sampler::new(0.1);
        let mut random = fastrand::Rng::with_seed(7);
        let hits = (0..10_000).filter(|_| {
            let id = TraceId(random.u128(..).to_be_bytes());
            tenth.samples(id, None)
        });
        let hits = hits.count();
        assert!((800..1200).contains(&hits), "{hits}");
    }
}
