//! The Prometheus text format, numbers as Go prints them.

use std::fmt::Write;

use super::family::Sample;
use super::registry::Entry;

/// `Content-Type` of [`super::Registry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

pub(super) fn push_family(out: &mut String, name: &str, entry: &Entry, app_id: Option<&str>) {
    let samples = entry.family.samples();
    if samples.is_empty() {
        return;
    }
    push_head(out, name, entry.help, entry.family.kind());
    let labels = entry.family.labels();
    for (values, sample) in samples {
        let text = label_text(labels, &values, app_id);
        match sample {
            Sample::Number(value) => push_sample(out, name, "", &text, value),
            Sample::Distribution { bounds, count, sum } => {
                for (bound, below) in bounds {
                    push_bucket(out, name, &text, &format_float(bound), below);
                }
                push_bucket(out, name, &text, "+Inf", count);
                push_sample(out, name, "_sum", &text, sum);
                push_sample(out, name, "_count", &text, count as f64);
            }
        }
    }
}

/// A metric without labels.
pub(super) fn push_plain(out: &mut String, name: &str, help: &str, kind: &str, value: f64) {
    push_head(out, name, help, kind);
    push_sample(out, name, "", "", value);
}

/// A counter with one label, not at all without series.
pub(super) fn push_by_label(out: &mut String, name: &str, help: &str, label: &str, series: &[(String, u64)]) {
    if series.is_empty() {
        return;
    }
    push_head(out, name, help, "counter");
    for (value, count) in series {
        push_sample(out, name, "", &format!("{label}=\"{value}\""), *count as f64);
    }
}

fn push_head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn push_sample(out: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        let _ = write!(out, "{{{labels}}}");
    }
    let _ = writeln!(out, " {}", format_float(value));
}

fn push_bucket(out: &mut String, name: &str, labels: &str, bound: &str, below: u64) {
    let comma = if labels.is_empty() { "" } else { "," };
    let below = format_float(below as f64);
    let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
}

/// `a="x",b=""` in label order, `app_id` sorted in.
fn label_text(labels: &[&str], values: &[Box<str>], app_id: Option<&str>) -> String {
    let mut pairs: Vec<(&str, &str)> = labels.iter().copied().zip(values.iter().map(|v| &**v)).collect();
    if let Some(id) = app_id {
        let at = pairs.partition_point(|(label, _)| *label < "app_id");
        pairs.insert(at, ("app_id", id));
    }
    let mut out = String::new();
    for (index, (label, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let _ = write!(out, "{label}=\"");
        push_escaped(&mut out, value);
        out.push('"');
    }
    out
}

fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Go's `%g` with the shortest digits: exponents below -4 and from 6 on are
/// written as such, with at least two digits.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
