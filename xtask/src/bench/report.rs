//! Results: one sample a run, their mean a side, ratios ours/theirs, as Markdown and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::load::Load;
use super::scenarios::Scenario;

/// One measured figure. The order is the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Microseconds.
    P50,
    P90,
    P99,
    /// The same minus the latency without sidecars, in microseconds.
    AddedP50,
    AddedP90,
    AddedP99,
    /// Requests or messages a second.
    Rate,
    /// Microseconds of processor time of all sidecars for one request.
    Cpu,
    /// Processor time of a request as a multiple of the same without what the scenario is about.
    OverPlain,
    /// Messages a second as a multiple of the same sent one by one.
    OverSingle,
    /// KiB of the largest sidecar before the window.
    WarmRss,
    WarmAnonymous,
    /// KiB of the largest sidecar at the end of the window.
    Rss,
    Anonymous,
    /// KiB of anonymous memory that the sidecar that grew most took during the window.
    Growth,
    /// Bytes.
    Size,
    /// Requests or messages that failed or got lost.
    Errors,
}

const METRICS: [Metric; 17] = [
    Metric::P50,
    Metric::P90,
    Metric::P99,
    Metric::AddedP50,
    Metric::AddedP90,
    Metric::AddedP99,
    Metric::Rate,
    Metric::Cpu,
    Metric::OverPlain,
    Metric::OverSingle,
    Metric::WarmRss,
    Metric::WarmAnonymous,
    Metric::Rss,
    Metric::Anonymous,
    Metric::Growth,
    Metric::Size,
    Metric::Errors,
];

impl Metric {
    fn title(self) -> &'static str {
        match self {
            Metric::P50 => "p50 ms",
            Metric::P90 => "p90 ms",
            Metric::P99 => "p99 ms",
            Metric::AddedP50 => "added p50 ms",
            Metric::AddedP90 => "added p90 ms",
            Metric::AddedP99 => "added p99 ms",
            Metric::Rate => "rate /s",
            Metric::Cpu => "CPU us/req",
            Metric::OverPlain => "CPU / plain",
            Metric::OverSingle => "rate / single",
            Metric::WarmRss => "warm RSS MB",
            Metric::WarmAnonymous => "warm anon MB",
            Metric::Growth => "growth MB",
            Metric::Rss => "RSS MB",
            Metric::Anonymous => "anon MB",
            Metric::Size => "size MB",
            Metric::Errors => "errors",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Metric::P50 => "p50_us",
            Metric::P90 => "p90_us",
            Metric::P99 => "p99_us",
            Metric::AddedP50 => "added_p50_us",
            Metric::AddedP90 => "added_p90_us",
            Metric::AddedP99 => "added_p99_us",
            Metric::Rate => "rate_per_s",
            Metric::Cpu => "cpu_us_per_request",
            Metric::OverPlain => "cpu_over_plain",
            Metric::OverSingle => "rate_over_single",
            Metric::WarmRss => "warm_rss_kib",
            Metric::WarmAnonymous => "warm_rss_anon_kib",
            Metric::Growth => "growth_kib",
            Metric::Rss => "rss_kib",
            Metric::Anonymous => "rss_anon_kib",
            Metric::Size => "size_bytes",
            Metric::Errors => "errors",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Metric::P50
            | Metric::P90
            | Metric::P99
            | Metric::AddedP50
            | Metric::AddedP90
            | Metric::AddedP99 => {
                format!("{:.3}", value / 1_000.0)
            }
            Metric::Rate | Metric::Errors => format!("{value:.0}"),
            Metric::Cpu => format!("{value:.1}"),
            Metric::OverPlain | Metric::OverSingle => format!("{value:.2}"),
            Metric::Growth => format!("{:.2}", value / 1_024.0),
            Metric::Rss | Metric::Anonymous | Metric::WarmRss | Metric::WarmAnonymous => {
                format!("{:.1}", value / 1_024.0)
            }
            Metric::Size => format!("{:.1}", value / 1e6),
        }
    }

    /// A count of failures has no ratio, nor has a ratio, and a difference near zero or below it has no meaning as one.
    fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        let counts =
            !matches!(self, Metric::Errors | Metric::OverPlain | Metric::OverSingle | Metric::Growth);
        (counts && ours > 0.0 && theirs > 0.0).then(|| ours / theirs)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(BTreeMap<Metric, f64>);

impl Sample {
    pub fn with(mut self, metric: Metric, value: f64) -> Self {
        self.0.insert(metric, value);
        self
    }

    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.get(&metric).copied()
    }

    pub fn of_load(load: &Load) -> Self {
        Sample::default()
            .with(Metric::P50, load.p50)
            .with(Metric::P90, load.p90)
            .with(Metric::P99, load.p99)
            .with(Metric::Rate, load.rate)
            .with(Metric::Errors, load.errors)
    }

    pub fn mean(samples: &[Sample]) -> Option<Self> {
        let first = samples.first()?;
        let mean = |metric: &Metric| {
            let values: Vec<f64> =
                samples.iter().filter_map(|sample| sample.0.get(metric)).copied().collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        Some(Sample(first.0.keys().map(|metric| (*metric, mean(metric))).collect()))
    }

    fn to_json(&self) -> Value {
        self.0.iter().map(|(metric, value)| (metric.key().to_owned(), json!(value))).collect()
    }
}

pub struct Row {
    scenario: &'static Scenario,
    /// Share of processor time others took just before.
    busy: f64,
    pub ours: Option<Sample>,
    pub theirs: Option<Sample>,
    pub failures: Vec<String>,
}

impl Row {
    pub fn new(scenario: &'static Scenario, busy: f64) -> Self {
        Row { scenario, busy, ours: None, theirs: None, failures: Vec::new() }
    }

    fn ratios(&self) -> Option<Vec<(Metric, f64)>> {
        let (ours, theirs) = (self.ours.as_ref()?, self.theirs.as_ref()?);
        let ratio = |metric: &Metric| metric.ratio(*ours.0.get(metric)?, *theirs.0.get(metric)?);
        Some(METRICS.iter().filter_map(|metric| Some((*metric, ratio(metric)?))).collect())
    }
}

pub struct Report {
    seconds: u32,
    rounds: u32,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn new(seconds: u32, rounds: u32) -> Self {
        Report { seconds, rounds, rows: Vec::new() }
    }

    pub fn failures(&self) -> usize {
        self.rows.iter().map(|row| row.failures.len()).sum()
    }

    pub fn to_markdown(&self) -> String {
        let samples = || self.rows.iter().flat_map(|row| [&row.ours, &row.theirs]).flatten();
        let columns: Vec<Metric> = METRICS
            .into_iter()
            .filter(|metric| samples().any(|sample| sample.0.contains_key(metric)))
            .collect();
        let mut text =
            format!("{} s a window, {} rounds a scenario, mean of the rounds\n\n", self.seconds, self.rounds);
        text.push_str("| scenario | side |");
        for metric in &columns {
            let _ = write!(text, " {} |", metric.title());
        }
        text.push_str(" busy before |\n|---|---|");
        text.push_str(&"---:|".repeat(columns.len() + 1));
        text.push('\n');
        for row in &self.rows {
            let busy = format!("{:.0} %", row.busy * 100.0);
            for (side, sample) in [("ours", &row.ours), ("theirs", &row.theirs)] {
                if let Some(sample) = sample {
                    let cell = |metric: &Metric| sample.0.get(metric).map(|value| metric.show(*value));
                    line(&mut text, row.scenario.name, side, columns.iter().map(cell), &busy);
                }
            }
            if let Some(ratios) = row.ratios() {
                let cell = |metric: &Metric| {
                    ratios.iter().find(|(name, _)| name == metric).map(|(_, ratio)| format!("**{ratio:.2}**"))
                };
                line(&mut text, row.scenario.name, "**ours/theirs**", columns.iter().map(cell), "");
            }
        }
        for row in &self.rows {
            for failure in &row.failures {
                let _ = write!(text, "\n{}: failed: {failure}\n", row.scenario.name);
            }
        }
        text
    }

    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_to_json).collect();
        json!({ "seconds": self.seconds, "rounds": self.rounds, "scenarios": rows })
    }
}

fn row_to_json(row: &Row) -> Value {
    let ratios: Option<serde_json::Map<String, Value>> = row.ratios().map(|ratios| {
        ratios.into_iter().map(|(metric, ratio)| (metric.key().to_owned(), json!(ratio))).collect()
    });
    json!({
        "name": row.scenario.name,
        "what": row.scenario.what,
        "busy_before": row.busy,
        "ours": row.ours.as_ref().map(Sample::to_json),
        "theirs": row.theirs.as_ref().map(Sample::to_json),
        "ratio": ratios,
        "failures": row.failures,
    })
}

fn line(
    text: &mut String,
    scenario: &str,
    side: &str,
    cells: impl Iterator<Item = Option<String>>,
    busy: &str,
) {
    let _ = write!(text, "| {scenario} | {side} |");
    for cell in cells {
        let _ = write!(text, " {} |", cell.unwrap_or_default());
    }
    let _ = writeln!(text, " {busy} |");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_only_where_both_sides_have_a_meaningful_figure() {
        let mut row = Row::new(&super::super::scenarios::ALL[0], 0.0);
        let sample = |rate, added| Sample::default().with(Metric::Rate, rate).with(Metric::AddedP50, added);
        row.ours = Sample::mean(&[sample(2_000.0, -1.0), sample(4_000.0, -3.0)]);
        row.theirs = Some(sample(1_500.0, 10.0).with(Metric::Errors, 3.0));
        assert_eq!(row.ratios(), Some(vec![(Metric::Rate, 2.0)]));
        row.theirs = None;
        assert_eq!(row.ratios(), None);
    }
}
