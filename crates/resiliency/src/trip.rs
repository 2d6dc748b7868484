//! The expression that opens a circuit breaker.

use std::fmt;
use std::sync::Arc;

use dapr_expressions::{CompileError, Expression};

use crate::core::Counts;

/// A breaker without an expression opens at the sixth failure in a row.
const DEFAULT_THRESHOLD: u32 = 5;

/// A compiled trip expression (runtime.md §3.5). An expression that fails or
/// does not yield a boolean never trips.
#[derive(Clone, Default)]
pub struct Trip(Option<Arc<Expression>>);

impl Trip {
    /// Compiles `source`; empty gives the default.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if source.is_empty() {
            return Ok(Self(None));
        }
        Expression::compile(source).map(|compiled| Self(Some(Arc::new(compiled))))
    }

    pub fn trips(&self, counts: &Counts) -> bool {
        match &self.0 {
            None => counts.consecutive_failures > DEFAULT_THRESHOLD,
            Some(expression) => evaluate(expression, counts),
        }
    }
}

fn evaluate(expression: &Expression, counts: &Counts) -> bool {
    let mut scope = expression.scope();
    for (name, value) in [
        ("requests", counts.requests),
        ("totalSuccesses", counts.total_successes),
        ("totalFailures", counts.total_failures),
        ("consecutiveSuccesses", counts.consecutive_successes),
        ("consecutiveFailures", counts.consecutive_failures),
    ] {
        scope.set_integer(name, i64::from(value));
    }
    expression.holds(&scope) == Ok(true)
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => write!(f, "consecutiveFailures > {DEFAULT_THRESHOLD}"),
            Some(expression) => f.write_str(expression.source()),
        }
    }
}

impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trip({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u32, failures: u32, consecutive: u32) -> Counts {
        Counts {
            requests,
            total_successes: requests - failures,
            total_failures: failures,
            consecutive_successes: 0,
            consecutive_failures: consecutive,
        }
    }

    fn trips(source: &str, c: &Counts) -> bool {
        Trip::compile(source).unwrap().trips(c)
    }

    #[test]
    fn the_default_is_more_than_five_in_a_row() {
        assert!(!trips("", &counts(5, 5, 5)));
        assert!(trips("", &counts(6, 6, 6)));
    }

    #[test]
    fn expressions_see_every_count() {
        let c = counts(10, 6, 2);
        for yes in [
            "consecutiveFailures >= 2",
            "requests > 9 && totalFailures == 6",
            "totalSuccesses < 5",
            "consecutiveSuccesses == 0",
            "double(totalFailures) / double(requests) > 0.5",
            "totalFailures > 5.5",
            "requests >= 3 && (totalFailures * 100 / requests) >= 60",
        ] {
            assert!(trips(yes, &c), "{yes}");
        }
        assert!(!trips("totalFailures / requests > 0", &c), "integers divide as integers");
    }

    #[test]
    fn what_cannot_be_evaluated_does_not_trip() {
        for no in ["nothere > 1", "requests / (totalFailures - totalFailures) > 1", "requests + 1", "'true'"]
        {
            assert!(!trips(no, &counts(3, 3, 3)), "{no}");
        }
    }

    #[test]
    fn what_does_not_parse_is_an_error() {
        assert!(Trip::compile("consecutiveFailures >").is_err());
        assert!(Trip::compile(&"(".repeat(100)).is_err_and(|e| e == CompileError::Deep(100)));
    }
}
