//! Where an event goes: the first rule whose expression holds (api.md §6.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use dapr_expressions::{EvaluationError, Expression};

use crate::metadata::SubscriptionKind;

/// One rule; without an expression it always matches.
pub struct Rule {
    pub expression: String,
    pub path: String,
    compiled: Option<Expression>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {:?}", self.expression, self.path)
    }
}

/// An expression that cannot be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(pub String);

impl Rule {
    pub fn new(expression: &str, path: &str) -> Result<Self, RouteError> {
        let expression = expression.trim();
        let compiled = if expression.is_empty() {
            None
        } else {
            let compiled = Expression::compile(expression)
                .map_err(|e| RouteError(format!("invalid routing rule {expression:?}: {e}")))?;
            Some(compiled)
        };
        Ok(Self { expression: expression.to_owned(), path: path.to_owned(), compiled })
    }
}

impl From<EvaluationError> for RouteError {
    fn from(error: EvaluationError) -> Self {
        Self(error.to_string())
    }
}

/// Bulk settings of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    pub max_messages: usize,
    pub max_await: std::time::Duration,
}

/// How a subscription came to be; re-exported under the metadata API's name.
pub type Origin = SubscriptionKind;

/// A subscription with compiled rules.
#[derive(Debug)]
pub struct Route {
    pub pubsub: String,
    pub topic: String,
    pub rules: Vec<Rule>,
    pub metadata: BTreeMap<String, String>,
    pub dead_letter_topic: String,
    pub bulk: Option<Bulk>,
    pub origin: Origin,
}

impl Route {
    /// `rawPayload` of the subscription's metadata.
    pub fn raw_payload(&self) -> Result<bool, String> {
        match self.metadata.iter().find(|(k, _)| k.eq_ignore_ascii_case("rawPayload")) {
            None => Ok(false),
            Some((_, value)) if value.is_empty() => Ok(false),
            Some((_, value)) => dapr_gocompat::bools::parse_bool(value)
                .map_err(|_| format!("rawPayload value must be a valid boolean: actual is '{value}'")),
        }
    }

    /// Whether finding the path needs the event's attributes.
    pub fn needs_event(&self) -> bool {
        self.rules.iter().any(|r| r.compiled.is_some())
    }

    /// Path of the first matching rule; `None` when no rule matches.
    pub fn find<E: serde::Serialize>(&self, event: &E) -> Result<Option<&str>, RouteError> {
        let mut scope = None;
        for rule in &self.rules {
            let Some(expression) = &rule.compiled else { return Ok(Some(&rule.path)) };
            let scope = match &mut scope {
                Some(scope) => scope,
                None => {
                    let mut fresh = expression.scope();
                    fresh.set("event", event)?;
                    scope.insert(fresh)
                }
            };
            if expression.holds(scope)? {
                return Ok(Some(&rule.path));
            }
        }
        Ok(None)
    }
}

/// Shared by the manager and the running subscription.
pub type SharedRoute = Arc<Route>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn route(rules: &[(&str, &str)]) -> Route {
        Route {
            pubsub: "p".into(),
            topic: "t".into(),
            rules: rules.iter().map(|(m, p)| Rule::new(m, p).unwrap()).collect(),
            metadata: BTreeMap::new(),
            dead_letter_topic: String::new(),
            bulk: None,
            origin: Origin::Declarative,
        }
    }

    fn find(rules: &[(&str, &str)], event: Value) -> Result<Option<String>, RouteError> {
        let Value::Object(event) = event else { panic!("not an object") };
        route(rules).find(&event).map(|p| p.map(str::to_owned))
    }

    #[test]
    fn the_first_match_wins_and_no_expression_always_matches() {
        let rules = [("event.type == 'a'", "/a"), ("event.data.n > 3", "/n"), ("", "/rest")];
        assert_eq!(find(&rules, json!({"type": "a"})).unwrap().as_deref(), Some("/a"));
        assert_eq!(find(&rules, json!({"type": "b", "data": {"n": 5}})).unwrap().as_deref(), Some("/n"));
        assert_eq!(find(&rules, json!({"type": "b", "data": {"n": 1}})).unwrap().as_deref(), Some("/rest"));
        assert_eq!(find(&rules[..1], json!({"type": "b"})).unwrap(), None);
    }

    #[test]
    fn expressions_have_limits() {
        let refusal = Rule::new(&"[".repeat(1140), "/a").unwrap_err().to_string();
        assert!(refusal.contains("\": it nests 1140 levels deep, more than 64"), "{refusal}");
    }

    #[test]
    fn errors_are_told() {
        assert!(Rule::new("event.type ==", "/a").is_err());
        assert!(find(&[("event.missing == 'a'", "/a")], json!({})).is_err());
        assert!(find(&[("event.type", "/a")], json!({"type": "a"})).is_err());
    }
}
