//! Rewriting of label values (`metric.rules`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

/// `metric.rules[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Name of the metric, with or without `dapr_`.
    pub name: String,
    pub labels: Vec<LabelRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRule {
    pub name: String,
    /// Replacement (`$1` allowed) and the pattern it replaces.
    pub regex: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to compile regex for rule {metric}{label}/{replacement}: {reason}")]
pub struct RuleError {
    metric: String,
    label: String,
    replacement: String,
    reason: String,
}

/// The compiled rules of one metric.
#[derive(Debug, Default)]
pub struct Rules(HashMap<String, Vec<(Regex, String)>>);

impl Rules {
    /// The label's value after its rules; empty values are left alone.
    pub(super) fn apply<'a>(&self, label: &str, value: &'a str) -> Cow<'a, str> {
        let mut value = Cow::Borrowed(value);
        if value.is_empty() {
            return value;
        }
        for (pattern, replacement) in self.0.get(label).into_iter().flatten() {
            if let Cow::Owned(next) = pattern.replace_all(&value, replacement) {
                value = Cow::Owned(next);
            }
        }
        value
    }
}

/// The rules of every metric, by comparable name.
#[derive(Debug, Default)]
pub(super) struct RuleSet(HashMap<String, Arc<Rules>>);

/// Rules name metrics by their exposed name, measures have slashes: both are
/// compared with every underscore a slash. A dot stays one, so a rule cannot
/// reach `grpc.io` measures (runtime.md §9.1).
fn comparable(name: &str) -> String {
    name.replace('_', "/")
}

impl RuleSet {
    pub(super) fn compile(rules: &[Rule]) -> Result<Self, RuleError> {
        let mut set: HashMap<String, Rules> = HashMap::new();
        for rule in rules {
            let metric = comparable(&rule.name.replacen("dapr_", "", 1));
            let labels = &mut set.entry(metric.clone()).or_default().0;
            for label in &rule.labels {
                let compiled = label.regex.iter().map(|(replacement, pattern)| {
                    let compiled = Regex::new(pattern).map_err(|e| RuleError {
                        metric: metric.clone(),
                        label: label.name.clone(),
                        replacement: replacement.clone(),
                        reason: e.to_string(),
                    })?;
                    Ok((compiled, replacement.clone()))
                });
                labels.insert(label.name.clone(), compiled.collect::<Result<_, _>>()?);
            }
        }
        Ok(Self(set.into_iter().map(|(name, rules)| (name, Arc::new(rules))).collect()))
    }

    pub(super) fn of(&self, measure: &str) -> Option<Arc<Rules>> {
        self.0.get(&comparable(measure)).cloned()
    }
}
