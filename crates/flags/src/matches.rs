//! What a command line said.

use std::time::Duration;

use crate::value::Value;
use crate::{Flag, FlagError, FlagSet};

/// The values of all flags of a set, given or default, and the positionals.
///
/// The typed accessors panic when the flag is not defined with that type: that
/// is a mistake in the program, never caused by input.
#[derive(Clone, Debug)]
pub struct Matches {
    values: Vec<Slot>,
    given: Vec<&'static str>,
    positionals: Vec<String>,
    before_dashes: Option<usize>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Slot {
    name: &'static str,
    value: Value,
    changed: bool,
}

impl Matches {
    pub(crate) fn of(set: &FlagSet) -> Self {
        let values = set
            .iter()
            .map(|flag| Slot { name: flag.name, value: flag.default.clone(), changed: false })
            .collect();
        Self { values, given: Vec::new(), positionals: Vec::new(), before_dashes: None, warnings: Vec::new() }
    }

    pub(crate) fn set(&mut self, flag: &Flag, text: &str) -> Result<(), FlagError> {
        let slot =
            self.values.iter_mut().find(|slot| slot.name == flag.name).expect("made from the same set");
        slot.value.set(text, !slot.changed).map_err(|cause| FlagError::invalid(flag, text, cause))?;
        if !slot.changed {
            slot.changed = true;
            self.given.push(flag.name);
        }
        if let Some(hint) = flag.deprecated {
            self.warnings.push(format!("Flag --{} has been deprecated, {hint}", flag.name));
        }
        Ok(())
    }

    pub(crate) fn push_positional(&mut self, arg: String) {
        self.positionals.push(arg);
    }

    pub(crate) fn end_of_flags(&mut self) {
        self.before_dashes = Some(self.positionals.len());
    }

    /// The arguments that are no flags and no flag values.
    pub fn positionals(&self) -> &[String] {
        &self.positionals
    }

    /// How many positionals stood before `--`, when there was one.
    pub fn positionals_before_dashes(&self) -> Option<usize> {
        self.before_dashes
    }

    /// Whether the flag was given, even with its default value.
    pub fn changed(&self, name: &str) -> bool {
        self.slot(name).changed
    }

    /// The flags that were given, by name.
    pub fn given(&self) -> Vec<&'static str> {
        let mut names = self.given.clone();
        names.sort_unstable();
        names
    }

    /// Lines for stderr: one for every use of a deprecated flag.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(value) => *value,
            other => wrong_kind(name, other),
        }
    }

    pub fn string(&self, name: &str) -> &str {
        match self.value(name) {
            Value::String(value) => value,
            other => wrong_kind(name, other),
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(value) => *value,
            other => wrong_kind(name, other),
        }
    }

    pub fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(value) => *value,
            other => wrong_kind(name, other),
        }
    }

    /// A duration; negative ones read as zero, see [`Matches::duration_nanos`].
    pub fn duration(&self, name: &str) -> Duration {
        Duration::from_nanos(u64::try_from(self.duration_nanos(name)).unwrap_or(0))
    }

    pub fn duration_nanos(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Duration(nanos) => *nanos,
            other => wrong_kind(name, other),
        }
    }

    /// The items of a list or array flag.
    pub fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(items) | Value::Array(items) => items,
            other => wrong_kind(name, other),
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Count(count) => *count,
            other => wrong_kind(name, other),
        }
    }

    fn value(&self, name: &str) -> &Value {
        &self.slot(name).value
    }

    fn slot(&self, name: &str) -> &Slot {
        match self.values.iter().find(|slot| slot.name == name) {
            Some(slot) => slot,
            None => panic!("flag --{name} is not defined"),
        }
    }
}

fn wrong_kind(name: &str, value: &Value) -> ! {
    panic!("flag --{name} is a {:?}", value.kind())
}
