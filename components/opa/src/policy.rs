//! A compiled policy and what it decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::{CompiledPolicy, Engine, Value};
use serde::Deserialize;

use crate::functions;

/// The rule that is asked for.
const ENTRY: &str = "data.http.allow";
const FILE: &str = "inline.rego";
const NO_FUNCTION: &str = "could not find function";

/// Why a policy does not decide.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("received no results back from rego policy. Are you setting data.http.allow?")]
    NoResult,
    #[error("got an invalid type back from repo policy. Only a boolean or map is valid")]
    InvalidType,
    #[error("{0}")]
    Evaluation(String),
}

/// What a policy says about a request.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Decision {
    pub allow: bool,
    /// For the request when it goes on, for the answer when it does not.
    pub additional_headers: BTreeMap<String, String>,
    /// Of the answer; `None` for the configured one.
    pub status_code: Option<i64>,
}

pub struct Policy {
    /// `None` when the policy has no such rule: every question is without a
    /// result then.
    compiled: Option<CompiledPolicy>,
}

impl Policy {
    /// Policies are in the language of OPA before 1.0 unless they import
    /// `rego.v1`.
    pub fn compile(rego: &str) -> Result<Self, String> {
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        // A function that fails is undefined, as in OPA.
        engine.set_strict_builtin_errors(false);
        functions::add(&mut engine)?;
        engine.add_policy(FILE.to_owned(), rego.to_owned()).map_err(|e| e.to_string())?;
        match engine.compile_with_entrypoint(&Arc::from(ENTRY)) {
            Ok(compiled) => match stray_keyword(&compiled) {
                None => Self { compiled: Some(compiled) }.tried(),
                Some(word) => Err(format!(
                    "{FILE}: `{word}` is no keyword here: import rego.v1 or future.keywords.{word}"
                )),
            },
            Err(error) if error.to_string().contains("not a valid rule path") => Ok(Self { compiled: None }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Functions are looked up when they are called: one question finds those
    /// that do not depend on the request.
    fn tried(self) -> Result<Self, String> {
        match self.decide(Value::from(serde_json::json!({"request": {}}))) {
            Err(Error::Evaluation(text)) if text.contains(NO_FUNCTION) => Err(text),
            _ => Ok(self),
        }
    }

    pub fn decide(&self, input: Value) -> Result<Decision, Error> {
        let Some(compiled) = &self.compiled else { return Err(Error::NoResult) };
        let failed = |e: &dyn std::fmt::Display| Error::Evaluation(e.to_string());
        match compiled.eval_with_input(input).map_err(|e| failed(&e))? {
            Value::Undefined => Err(Error::NoResult),
            Value::Bool(allow) => Ok(Decision { allow, ..Decision::default() }),
            object @ Value::Object(_) => {
                let json = object.to_json_str().map_err(|e| failed(&e))?;
                serde_json::from_str(&json).map_err(|e| failed(&e))
            }
            _ => Err(Error::InvalidType),
        }
    }
}

/// A keyword of the newer language that was not imported. The engine takes it
/// for the name of a rule, and `allow if { ... }` for an `allow` without
/// conditions; OPA does not accept that.
fn stray_keyword(compiled: &CompiledPolicy) -> Option<&'static str> {
    let names = || compiled.get_rules().keys().filter_map(|path| path.rsplit('.').next());
    ["if", "contains", "in", "every"].into_iter().find(|word| names().any(|name| name == *word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(rego: &str, input: &str) -> Result<Decision, String> {
        let policy = Policy::compile(&format!("package http\n{rego}"))?;
        policy.decide(Value::from_json_str(input).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn booleans_and_objects_decide() {
        let allowed = Decision { allow: true, ..Decision::default() };
        assert_eq!(decide("allow = true", "{}"), Ok(allowed));
        let rego = r#"default allow = false
            allow = {"allow": true, "additional_headers": {"x": input.name}, "status_code": 301} { input.name }"#;
        assert_eq!(decide(rego, "{}"), Ok(Decision::default()));
        let decision = decide(rego, r#"{"name": "y"}"#).unwrap();
        assert_eq!(decision.additional_headers["x"], "y");
        assert_eq!((decision.allow, decision.status_code), (true, Some(301)));
    }

    #[test]
    fn a_function_that_fails_is_undefined() {
        let rego = "default allow = false\nallow { to_number(\"x\") == 1 }\nallow { input.x }";
        assert_eq!(decide(rego, "{}").map(|d| d.allow), Ok(false));
        assert_eq!(decide(rego, r#"{"x": 1}"#).map(|d| d.allow), Ok(true));
    }

    #[test]
    fn a_token_can_be_looked_into_again_and_again() {
        let rego = r#"allow = false { not claims.sub }
            allow = true { claims.sub == "me" }
            claims = payload { [_, payload, _] := io.jwt.decode(input.token) }"#;
        let policy = Policy::compile(&format!("package http\n{rego}")).unwrap();
        for (token, allowed) in [("e30.eyJzdWIiOiJtZSJ9.YQ", true), ("e30.e30.YQ", false), ("none", false)] {
            for _ in 0..2 {
                let input = Value::from(serde_json::json!({"token": token}));
                assert_eq!(policy.decide(input).unwrap().allow, allowed, "{token}");
            }
        }
    }

    #[test]
    fn the_newer_language_has_to_be_imported() {
        assert!(decide("allow if { true }", "{}").is_err());
        assert!(decide("import rego.v1\nallow if { true }", "{}").unwrap().allow);
        assert!(decide("import future.keywords.if\nallow if { true }", "{}").unwrap().allow);
    }

    #[test]
    fn what_decides_nothing_says_so() {
        let none = Err(Error::NoResult.to_string());
        assert_eq!(decide("other = true", "{}"), none);
        assert_eq!(decide("allow { input.x }", "{}"), none);
        assert_eq!(decide("allow = 1", "{}"), Err(Error::InvalidType.to_string()));
        assert_eq!(decide("allow = \"true\"", "{}"), Err(Error::InvalidType.to_string()));
        let conflict = decide("allow = true { input.x }\nallow = false { input.x }", r#"{"x": 1}"#);
        assert!(conflict.is_err(), "{conflict:?}");
        assert!(decide("allow = {\"allow\": 1}", "{}").is_err());
    }

    #[test]
    fn text_that_is_no_policy_does_not_compile() {
        assert!(Policy::compile("nothing").is_err());
        assert!(Policy::compile("package http\nallow = undefined_function(1)").is_err());
    }
}
