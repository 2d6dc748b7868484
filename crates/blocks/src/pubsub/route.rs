//! Where an event goes: the first rule whose expression holds (api.md §6.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Context, Program, Value as CelValue};

use crate::metadata::SubscriptionKind;

/// Limits of an expression, in bytes and levels.
const LONGEST_EXPRESSION: usize = 4096;
const DEEPEST_EXPRESSION: usize = 64;
/// Only what is used of it takes memory.
const PARSER_STACK: usize = 64 << 20;

/// One rule; without an expression it always matches.
pub struct Rule {
    pub expression: String,
    pub path: String,
    program: Option<Program>,
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
        let program = if expression.is_empty() {
            None
        } else {
            Some(
                compile(expression)
                    .map_err(|e| RouteError(format!("invalid routing rule {expression:?}: {e}")))?,
            )
        };
        Ok(Self { expression: expression.to_owned(), path: path.to_owned(), program })
    }
}

/// The parser needs up to a hundred KiB of stack for each level of nesting, time
/// that grows faster than the text, and panics on some errors. The application
/// that sends a rule must not be able to end the sidecar with it.
fn compile(expression: &str) -> Result<Program, String> {
    if expression.len() > LONGEST_EXPRESSION {
        return Err(format!("it has {} bytes, more than {LONGEST_EXPRESSION}", expression.len()));
    }
    let depth = depth(expression);
    if depth > DEEPEST_EXPRESSION {
        return Err(format!("it nests {depth} levels deep, more than {DEEPEST_EXPRESSION}"));
    }
    let text = expression.to_owned();
    let thread = std::thread::Builder::new().name("route".to_owned()).stack_size(PARSER_STACK);
    let parsed = thread
        .spawn(move || Program::compile(&text).map_err(|e| e.to_string()))
        .map_err(|e| format!("no thread for its parser: {e}"))?;
    parsed.join().unwrap_or_else(|_| Err("the parser gave up".to_owned()))
}

/// Brackets that are open at once, and conditions, of which each contains the
/// next. Those within texts count, too: the limit is far above what is used.
fn depth(expression: &str) -> usize {
    let (mut open, mut deepest, mut conditions) = (0_usize, 0, 0);
    for byte in expression.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' => conditions += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest + conditions
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
        self.rules.iter().any(|r| r.program.is_some())
    }

    /// Path of the first matching rule; `None` when no rule matches.
    pub fn find<E: serde::Serialize>(&self, event: &E) -> Result<Option<&str>, RouteError> {
        let mut context: Option<Context<'_, '_>> = None;
        for rule in &self.rules {
            let Some(program) = &rule.program else { return Ok(Some(&rule.path)) };
            let context = match &mut context {
                Some(context) => context,
                None => context.insert(event_context(event)?),
            };
            match program.execute(context) {
                Ok(CelValue::Bool(true)) => return Ok(Some(&rule.path)),
                Ok(CelValue::Bool(false)) => {}
                Ok(_) => {
                    return Err(RouteError("the result of match expression was not a boolean".to_owned()));
                }
                Err(error) => return Err(RouteError(error.to_string())),
            }
        }
        Ok(None)
    }
}

fn event_context<E: serde::Serialize>(event: &E) -> Result<Context<'static, 'static>, RouteError> {
    let mut context = Context::default();
    let value = cel::to_value(event).map_err(|e| RouteError(e.to_string()))?;
    context.add_variable_from_value("event", value);
    Ok(context)
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
    fn expressions_that_would_end_the_process_are_refused() {
        let refusal = |expression: String| Rule::new(&expression, "/a").unwrap_err().to_string();
        assert!(refusal("[".repeat(1140)).contains("nests 1140 levels deep, more than 64"));
        assert!(refusal("a?".repeat(2000)).contains("nests 2000 levels deep"));
        assert!(refusal("{1:".repeat(100)).contains("nests 100 levels deep"));
        // This one takes the parser minutes, and the next makes it panic.
        assert!(refusal(format!("event.x {}", "|= 2) ".repeat(10_000))).contains("more than 4096"));
        assert!(refusal(format!("duration('1{}", "r\"".repeat(30_000))).contains("more than 4096"));
        let deep = format!("{}true{}", "(".repeat(64), ")".repeat(64));
        assert_eq!(find(&[(&deep, "/deep")], json!({})).unwrap().as_deref(), Some("/deep"));
    }

    #[test]
    fn errors_are_told() {
        assert!(Rule::new("event.type ==", "/a").is_err());
        assert!(find(&[("event.missing == 'a'", "/a")], json!({})).is_err());
        assert!(find(&[("event.type", "/a")], json!({"type": "a"})).is_err());
    }
}
