//! Instruments and the families they belong to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::registry::SeriesBudget;
use super::rules::Rules;
use super::series::{Key, SeriesCache};

/// Upper bounds for latencies in milliseconds, unless configured.
pub const LATENCY_BUCKETS_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0,
    130.0, 160.0, 200.0, 250.0, 300.0, 400.0, 500.0, 650.0, 800.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5,
];

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;

/// Upper bounds for sizes in bytes.
pub const SIZE_BUCKETS: &[f64] = &[
    KIB,
    2.0 * KIB,
    4.0 * KIB,
    16.0 * KIB,
    64.0 * KIB,
    256.0 * KIB,
    MIB,
    4.0 * MIB,
    16.0 * MIB,
    64.0 * MIB,
    256.0 * MIB,
    GIB,
    4.0 * GIB,
];

/// Upper bounds for shares of the message size limit.
pub const RATIO_BUCKETS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0, 1.5, 2.0];

/// Upper bounds of a histogram, ascending and without the infinite one.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Arc<[f64]>);

impl Buckets {
    /// Bounds that are not positive are dropped, the rest sorted.
    pub fn new(bounds: &[f64]) -> Self {
        let mut kept: Vec<f64> = bounds.iter().copied().filter(|b| *b > 0.0).collect();
        kept.sort_by(f64::total_cmp);
        kept.dedup();
        Self(kept.into())
    }

    pub fn bounds(&self) -> &[f64] {
        &self.0
    }
}

/// Only goes up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge that was never set: it is not exposed.
const UNSET: i64 = i64::MIN;

/// The last value given.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `change`, which may be negative.
    pub fn add(&self, change: i64) {
        let add = |value: i64| Some(if value == UNSET { change } else { value.saturating_add(change) });
        // The closure never refuses, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|v| *v != UNSET)
    }
}

/// How values are distributed.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramState>);

#[derive(Debug)]
struct HistogramState {
    buckets: Buckets,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    fn new(buckets: &Buckets) -> Self {
        let counts = (0..=buckets.bounds().len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(HistogramState { buckets: buckets.clone(), counts, sum: AtomicU64::new(0) }))
    }

    /// A value on a bound belongs to the bucket above it, as in Dapr's own
    /// exposition.
    pub fn record(&self, value: f64) {
        let index = self.0.buckets.bounds().partition_point(|bound| *bound <= value);
        self.0.counts[index].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never refuses, so this cannot fail.
        let _ = self.0.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Bounds with the number of values below each, then all of them, then
    /// their sum.
    pub(super) fn snapshot(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = 0;
        let counts = self.0.counts.iter().map(|c| c.load(Ordering::Relaxed));
        let mut cumulative = counts.map(|count| {
            below += count;
            below
        });
        let bounds = self.0.buckets.bounds().iter().copied().zip(cumulative.by_ref()).collect();
        let total = cumulative.next().unwrap_or_default();
        (bounds, total, f64::from_bits(self.0.sum.load(Ordering::Relaxed)))
    }

    pub fn count(&self) -> u64 {
        self.snapshot().1
    }

    pub fn sum(&self) -> f64 {
        self.snapshot().2
    }
}

/// What a family is made of.
pub trait Instrument: Clone {
    /// What making one takes.
    type Shape: Clone + fmt::Debug;
    #[doc(hidden)]
    fn make(shape: &Self::Shape) -> Self;
}

impl Instrument for Counter {
    type Shape = ();
    fn make((): &()) -> Self {
        Self::default()
    }
}

impl Instrument for Gauge {
    type Shape = ();
    fn make((): &()) -> Self {
        Self(Arc::new(AtomicI64::new(UNSET)))
    }
}

impl Instrument for Histogram {
    type Shape = Buckets;
    fn make(shape: &Buckets) -> Self {
        Self::new(shape)
    }
}

/// Labels of one family at most: values are sorted without an allocation.
const MAX_LABELS: usize = 8;

/// All series of one metric. Cloning shares it.
pub struct Family<I: Instrument>(Arc<FamilyState<I>>);

impl<I: Instrument> Clone for Family<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Instrument> fmt::Debug for Family<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("labels", &self.0.labels).finish_non_exhaustive()
    }
}

pub(super) struct FamilyState<I: Instrument> {
    labels: Box<[&'static str]>,
    /// Positions of the declared labels in sorted order.
    order: Box<[usize]>,
    shape: I::Shape,
    rules: LabelRules,
    budget: Arc<SeriesBudget>,
    /// Records that found no room for their series.
    refused: AtomicU64,
    /// Keys are in sorted label order.
    series: SeriesCache<I>,
}

type LabelRules = Option<Arc<Rules>>;

impl<I: Instrument> FamilyState<I> {
    fn resolve(&self, values: &[&str]) -> I {
        let detached = || I::make(&self.shape);
        if let Some(found) = self.series.get(values) {
            return found;
        }
        let refuse = || {
            self.refused.fetch_add(1, Ordering::Relaxed);
            detached()
        };
        if self.budget.is_spent() || self.series.len() >= self.budget.family_limit() {
            // Without the write lock, which a flood of new values would hold.
            return refuse();
        }
        let make = || self.budget.take().then(detached);
        self.series.insert_with(values, make).unwrap_or_else(refuse)
    }
}

impl<I: Instrument> Family<I> {
    pub(super) fn new(
        labels: &[&'static str],
        shape: I::Shape,
        rules: LabelRules,
        budget: Arc<SeriesBudget>,
    ) -> Self {
        assert!(labels.len() <= MAX_LABELS, "families are declared in code: {labels:?}");
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|i| labels[*i]);
        Self(Arc::new(FamilyState {
            labels: order.iter().map(|i| labels[*i]).collect(),
            order: order.into(),
            shape,
            rules,
            refused: AtomicU64::new(0),
            series: SeriesCache::new(budget.family_limit()),
            budget,
        }))
    }

    /// The series with these label values, given in the order in which the
    /// family was declared. Once the registry is full, new series count
    /// nowhere.
    pub fn with(&self, values: &[&str]) -> I {
        let state = &*self.0;
        debug_assert_eq!(values.len(), state.order.len(), "one value per label");
        let mut sorted = [""; MAX_LABELS];
        for (place, i) in sorted.iter_mut().zip(&state.order) {
            *place = values.get(*i).copied().unwrap_or("");
        }
        let sorted = &sorted[..state.order.len()];
        match &state.rules {
            None => state.resolve(sorted),
            Some(rules) => {
                let pairs = state.labels.iter().zip(sorted);
                let rewritten: Vec<_> = pairs.map(|(label, value)| rules.apply(label, value)).collect();
                state.resolve(&rewritten.iter().map(|v| &**v).collect::<Vec<_>>())
            }
        }
    }
}

/// A family without its instrument's type, for rendering.
pub(super) trait AnyFamily: Send + Sync {
    fn labels(&self) -> &[&'static str];
    fn kind(&self) -> &'static str;
    fn samples(&self) -> Vec<(Key, Sample)>;
    /// Records without a series.
    fn refused(&self) -> u64;
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    Number(f64),
    /// `bounds` come with the number of values below each.
    Distribution {
        bounds: Vec<(f64, u64)>,
        count: u64,
        sum: f64,
    },
}

pub(super) trait Sampled: Instrument {
    const KIND: &'static str;
    /// Nothing before the first record: a handle alone exposes no series.
    fn sample(&self) -> Option<Sample>;
}

impl Sampled for Counter {
    const KIND: &'static str = "counter";
    fn sample(&self) -> Option<Sample> {
        Some(self.get()).filter(|count| *count > 0).map(|count| Sample::Number(count as f64))
    }
}

impl Sampled for Gauge {
    const KIND: &'static str = "gauge";
    fn sample(&self) -> Option<Sample> {
        self.get().map(|value| Sample::Number(value as f64))
    }
}

impl Sampled for Histogram {
    const KIND: &'static str = "histogram";
    fn sample(&self) -> Option<Sample> {
        let (bounds, count, sum) = self.snapshot();
        (count > 0).then_some(Sample::Distribution { bounds, count, sum })
    }
}

impl<I: Sampled + Send + Sync> AnyFamily for Family<I>
where
    I::Shape: Send + Sync,
{
    fn labels(&self) -> &[&'static str] {
        &self.0.labels
    }

    fn kind(&self) -> &'static str {
        I::KIND
    }

    fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn samples(&self) -> Vec<(Key, Sample)> {
        let all = self.0.series.sorted().into_iter();
        all.filter_map(|(key, handle)| Some((key, handle.sample()?))).collect()
    }
}
