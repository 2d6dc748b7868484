//! Conditions that applications and resources bring along, in CEL: compiled
//! within limits of size and nesting, evaluated against variables. It must not
//! know who asks, or what the variables mean. Entry types: [`Expression`],
//! [`Scope`].
#![forbid(unsafe_code)]

mod depth;

use std::sync::Arc;

use cel::{Context, Env, Program, Value};
use serde::Serialize;

/// Limits of an expression, in bytes and levels.
const LONGEST: usize = 4096;
const DEEPEST: usize = 64;
/// Operations one within the other: each takes some 30 KiB of the stack of
/// whoever evaluates, in a build without optimisation.
const DEEPEST_OPERATION: usize = 32;
/// Only what is used of it takes memory.
const PARSER_STACK: usize = 64 << 20;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("it has {0} bytes, more than {LONGEST}")]
    Long(usize),
    #[error("it nests {0} levels deep, more than {DEEPEST}")]
    Deep(usize),
    #[error("{0} of its operations are within each other, more than {DEEPEST_OPERATION}")]
    Chained(usize),
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
        let depth = depth::of_text(source);
        if depth > DEEPEST {
            return Err(CompileError::Deep(depth));
        }
        let text = source.to_owned();
        let thread = std::thread::Builder::new().name("expression".to_owned()).stack_size(PARSER_STACK);
        let parsed = thread.spawn(move || parse(&text)).map_err(|e| CompileError::NoThread(e.to_string()))?;
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

/// Looks at the tree where there is stack for it, and drops there what is refused.
fn parse(text: &str) -> Result<Program, CompileError> {
    let program = Program::compile(text).map_err(|e| CompileError::Invalid(e.to_string()))?;
    match depth::of_tree(program.expression()) {
        depth if depth > DEEPEST_OPERATION => Err(CompileError::Chained(depth)),
        _ => Ok(program),
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

    /// On the stack of a thread of the tests, which is that of a worker.
    #[test]
    fn the_deepest_that_is_taken_can_be_evaluated() {
        let n = DEEPEST_OPERATION;
        let shapes = [
            format!("n{} > 0", " + n".repeat(n - 1)),
            format!("{}(n > 2)", "!".repeat(2 * (n / 2 - 1))),
            format!("{}n{} == [n]", "[".repeat(n - 1), "]".repeat(n - 1)),
            format!("event{} == n", ".type".repeat(n - 1)),
            format!("event{} == n", "['type']".repeat(n - 1)),
            format!("event.type{} == n", ".size()".repeat(n - 2)),
            format!("{}n{} > 0", "int(".repeat(n - 1), ")".repeat(n - 1)),
            format!("{}n > 0{}", "[n].all(x, ".repeat(n / 4), ")".repeat(n / 4)),
            format!("{}n > 2", "n > 9 ? false : ".repeat(n - 2)),
        ];
        for shape in shapes {
            let expression = Expression::compile(&shape).unwrap_or_else(|e| panic!("{shape}: {e}"));
            let mut scope = expression.scope();
            scope.set_integer("n", 3);
            scope.set("event", &std::collections::BTreeMap::from([("type", "a")])).unwrap();
            let _ = expression.holds(&scope);
        }
    }

    #[test]
    fn chains_nest_without_brackets() {
        let refusal = |source: String| Expression::compile(&source).err().unwrap().to_string();
        let chain = format!("!(event.data.ata.n{} > 1)", " %ata.n".repeat(65));
        assert_eq!(refusal(chain), "70 of its operations are within each other, more than 32");
        assert!(refusal(format!("event{}", ".a".repeat(2000))).contains("2000 of its operations"));
        // Alternatives are balanced by the parser, however many there are.
        let many = vec!["n == 7"; 300].join(" || ");
        assert_eq!(holds(&many), Ok(false));
    }
}
