//! Conditions that applications and resources bring along, in CEL: compiled
//! within limits of size and nesting, evaluated against variables. It must not
//! know who asks, or what the variables mean. Entry types: [`Expression`],
//! [`Scope`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use cel::{Context, Env, Program, Value};
use serde::Serialize;

/// Limits of an expression, in bytes and levels.
const LONGEST: usize = 4096;
const DEEPEST: usize = 64;
/// Only what is used of it takes memory.
const PARSER_STACK: usize = 64 << 20;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("it has {0} bytes, more than {LONGEST}")]
    Long(usize),
    #[error("it nests {0} levels deep, more than {DEEPEST}")]
    Deep(usize),
    #[error("no thread for its parser: {0}")]
    NoThread(String),
    /// What the parser says.
    #[error("{0}")]
    Invalid(String),
}

/// Why an expression has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("{0}")]
    Failed(String),
    #[error("the result of match expression was not a boolean")]
    NotBoolean,
}

/// A compiled condition.
pub struct Expression {
    source: String,
    env: Arc<Env>,
    program: Program,
}

/// The variables that expressions see.
pub struct Scope(Context<'static, 'static>);

impl Expression {
    /// The parser needs up to a hundred KiB of stack for each level of nesting,
    /// time that grows faster than the text, and panics on some errors. Whoever
    /// sends an expression must not be able to end the sidecar with it.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if source.len() > LONGEST {
            return Err(CompileError::Long(source.len()));
        }
        let depth = depth(source);
        if depth > DEEPEST {
            return Err(CompileError::Deep(depth));
        }
        let text = source.to_owned();
        let thread = std::thread::Builder::new().name("expression".to_owned()).stack_size(PARSER_STACK);
        let parsed = thread
            .spawn(move || Program::compile(&text).map_err(|e| CompileError::Invalid(e.to_string())))
            .map_err(|e| CompileError::NoThread(e.to_string()))?;
        let program =
            parsed.join().unwrap_or_else(|_| Err(CompileError::Invalid("the parser gave up".to_owned())))?;
        Ok(Self { source: source.to_owned(), env: Arc::new(Env::stdlib()), program })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// No variables; usable by any expression.
    pub fn scope(&self) -> Scope {
        Scope(Context::with_env(Arc::clone(&self.env)))
    }

    /// Whether the condition holds.
    pub fn holds(&self, scope: &Scope) -> Result<bool, EvaluationError> {
        match self.program.execute(&scope.0) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(EvaluationError::NotBoolean),
            Err(error) => Err(EvaluationError::Failed(error.to_string())),
        }
    }
}

impl Scope {
    /// Adds a variable. `Err` says why the value cannot be one.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), EvaluationError> {
        let value = cel::to_value(value).map_err(|e| EvaluationError::Failed(e.to_string()))?;
        self.0.add_variable_from_value(name, value);
        Ok(())
    }

    pub fn set_integer(&mut self, name: &str, value: i64) {
        self.0.add_variable_from_value(name, value);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(source: &str) -> Result<bool, EvaluationError> {
        let expression = Expression::compile(source).unwrap();
        let mut scope = expression.scope();
        scope.set_integer("n", 3);
        scope.set("event", &std::collections::BTreeMap::from([("type", "a")])).unwrap();
        expression.holds(&scope)
    }

    #[test]
    fn conditions_see_their_variables() {
        assert_eq!(holds("n > 2 && event.type == 'a'"), Ok(true));
        assert_eq!(holds("double(n) / 2.0 < 1.0"), Ok(false));
        assert_eq!(holds("n + 1"), Err(EvaluationError::NotBoolean));
        assert!(matches!(holds("missing > 1"), Err(EvaluationError::Failed(_))));
        assert!(matches!(Expression::compile("n >"), Err(CompileError::Invalid(_))));
    }

    #[test]
    fn expressions_that_would_end_the_process_are_refused() {
        let refusal = |source: String| Expression::compile(&source).err().unwrap().to_string();
        assert_eq!(refusal("[".repeat(1140)), "it nests 1140 levels deep, more than 64");
        assert_eq!(refusal("a?".repeat(2000)), "it nests 2000 levels deep, more than 64");
        assert_eq!(refusal("{1:".repeat(100)), "it nests 100 levels deep, more than 64");
        // This one takes the parser minutes, and the next makes it panic.
        assert!(refusal(format!("event.x {}", "|= 2) ".repeat(10_000))).contains("more than 4096"));
        assert!(refusal(format!("duration('1{}", "r\"".repeat(30_000))).contains("more than 4096"));
        assert_eq!(holds(&format!("{}true{}", "(".repeat(64), ")".repeat(64))), Ok(true));
    }
}
