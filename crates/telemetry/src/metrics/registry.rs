//! All metrics of one process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::family::{AnyFamily, Buckets, Counter, Family, Gauge, Histogram, Instrument, Sample, Sampled};
use super::rules::{Rule, RuleError, RuleSet};
use super::{process, text};

/// Most series a registry keeps unless told otherwise: a histogram with the
/// default bounds takes some 400 bytes.
pub const SERIES_LIMIT: usize = 10_000;
/// Most series of one family unless told otherwise, so that a label with a new
/// value in each request leaves the others their room.
pub const FAMILY_SERIES_LIMIT: usize = 2_000;

const PREFIX: &str = "dapr_";
const OVERFLOW: &str = "dapr_metrics_series_dropped_total";
const OVERFLOW_HELP: &str =
    "Records that were dropped because the family or the registry holds no more series.";

/// How to build a [`Registry`].
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Value of `app_id`, which every family then carries.
    pub app_id: Option<String>,
    pub rules: Vec<Rule>,
    pub series_limit: usize,
    pub family_series_limit: usize,
    /// Adds `process_*`.
    pub process: bool,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            app_id: None,
            rules: Vec::new(),
            series_limit: SERIES_LIMIT,
            family_series_limit: FAMILY_SERIES_LIMIT,
            process: true,
        }
    }
}

/// Room for series, shared by all families.
#[derive(Debug)]
pub(super) struct SeriesBudget {
    used: AtomicUsize,
    limit: usize,
    /// Limit of each family.
    family: usize,
}

impl SeriesBudget {
    /// Takes room for one series if there is any.
    pub(super) fn take(&self) -> bool {
        let grown = |used: usize| (used < self.limit).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    pub(super) fn family_limit(&self) -> usize {
        self.family
    }

    pub(super) fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }
}

pub(super) struct Entry {
    pub(super) help: &'static str,
    pub(super) family: Box<dyn AnyFamily>,
    /// False where the family has a label `app_id` of its own.
    pub(super) constant_app_id: bool,
}

struct State {
    app_id: Option<String>,
    rules: RuleSet,
    families: RwLock<BTreeMap<String, Entry>>,
    budget: Arc<SeriesBudget>,
    process: bool,
}

/// One family as [`Registry::read`] finds it.
#[derive(Clone, Debug)]
pub struct FamilyReading {
    pub name: String,
    pub help: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub series: Vec<SeriesReading>,
}

#[derive(Clone, Debug)]
pub struct SeriesReading {
    pub labels: Vec<(&'static str, String)>,
    pub sample: Sample,
}

/// A set of metrics, rendered as Prometheus text. Cloning shares it.
#[derive(Clone)]
pub struct Registry(Arc<State>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("series", &self.series()).finish_non_exhaustive()
    }
}

impl Registry {
    /// An invalid rule leaves every rule out: start-up logs the error and goes
    /// on with [`Registry::without_rules`].
    pub fn new(options: RegistryOptions) -> Result<Self, RuleError> {
        let rules = RuleSet::compile(&options.rules)?;
        Ok(Self::build(options, rules))
    }

    pub fn without_rules(options: RegistryOptions) -> Self {
        Self::build(options, RuleSet::default())
    }

    fn build(options: RegistryOptions, rules: RuleSet) -> Self {
        let budget = SeriesBudget {
            used: AtomicUsize::new(0),
            limit: options.series_limit,
            family: options.family_series_limit,
        };
        Self(Arc::new(State {
            app_id: options.app_id,
            rules,
            families: RwLock::default(),
            budget: Arc::new(budget),
            process: options.process,
        }))
    }

    /// A counter family. `measure` is the name before exposition, such as
    /// `runtime/component/loaded`. Values are later given in the order of
    /// `labels`.
    pub fn counter(&self, measure: &str, help: &'static str, labels: &[&'static str]) -> Family<Counter> {
        self.family(measure, help, labels, ())
    }

    pub fn gauge(&self, measure: &str, help: &'static str, labels: &[&'static str]) -> Family<Gauge> {
        self.family(measure, help, labels, ())
    }

    pub fn histogram(
        &self,
        measure: &str,
        help: &'static str,
        labels: &[&'static str],
        buckets: &Buckets,
    ) -> Family<Histogram> {
        self.family(measure, help, labels, buckets.clone())
    }

    fn family<I>(
        &self,
        measure: &str,
        help: &'static str,
        labels: &[&'static str],
        shape: I::Shape,
    ) -> Family<I>
    where
        I: Instrument + Sampled + Send + Sync + 'static,
        I::Shape: Send + Sync,
    {
        let state = &*self.0;
        let family = Family::new(labels, shape, state.rules.of(measure), Arc::clone(&state.budget));
        let entry =
            Entry { help, family: Box::new(family.clone()), constant_app_id: !labels.contains(&"app_id") };
        let before = state.families.write().insert(exposed_name(measure), entry);
        debug_assert!(before.is_none(), "{measure} is declared twice");
        family
    }

    /// Every series with its value now, families sorted by name.
    pub fn read(&self) -> Vec<FamilyReading> {
        let state = &*self.0;
        let mut out = Vec::new();
        for (name, entry) in &*state.families.read() {
            let app_id = state.app_id.as_ref().filter(|_| entry.constant_app_id);
            let labels = entry.family.labels();
            let series: Vec<_> = entry
                .family
                .samples()
                .into_iter()
                .map(|(values, sample)| {
                    let own = labels.iter().copied().zip(values.iter().map(|v| v.to_string()));
                    let labels = own.chain(app_id.map(|id| ("app_id", id.clone()))).collect();
                    SeriesReading { labels, sample }
                })
                .collect();
            if !series.is_empty() {
                out.push(FamilyReading {
                    name: name.clone(),
                    help: entry.help,
                    kind: entry.family.kind(),
                    series,
                });
            }
        }
        out
    }

    /// Number of series.
    pub fn series(&self) -> usize {
        self.0.budget.used.load(Ordering::Relaxed)
    }

    /// Everything in the Prometheus text format, families sorted by name.
    /// A family without series is left out.
    pub fn render(&self) -> String {
        let state = &*self.0;
        let mut out = String::with_capacity(16 * 1024);
        let mut refused = Vec::new();
        for (name, entry) in &*state.families.read() {
            let app_id = state.app_id.as_deref().filter(|_| entry.constant_app_id);
            text::push_family(&mut out, name, entry, app_id);
            refused.push((name.clone(), entry.family.refused()));
        }
        refused.retain(|(_, count)| *count > 0);
        text::push_by_label(&mut out, OVERFLOW, OVERFLOW_HELP, "family", &refused);
        if state.process {
            process::push(&mut out);
        }
        out
    }
}

fn exposed_name(measure: &str) -> String {
    let sanitized: String =
        measure.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{PREFIX}{sanitized}")
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
