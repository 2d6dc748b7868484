use std::fmt;

use crate::yaml::{Dialect, YamlError};

/// YAML that does not fit the type it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Line in the file, from one; 0 when unknown.
    pub line: usize,
    /// Field names from the root down.
    pub path: Vec<String>,
    problem: Problem,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// The text itself is wrong.
    Yaml(YamlError),
    /// A value of one type where another is wanted; `shown` is the scalar's text.
    Type {
        got: String,
        shown: String,
        want: String,
    },
    Other(String),
}

impl DecodeError {
    pub(super) fn wrong_type(line: usize, got: &str, shown: &str, want: &str) -> Self {
        let problem = Problem::Type { got: got.to_owned(), shown: shown.to_owned(), want: want.to_owned() };
        Self { line, path: Vec::new(), problem, text: String::new() }
    }

    pub(super) fn other(line: usize, message: impl Into<String>) -> Self {
        Self { line, path: Vec::new(), problem: Problem::Other(message.into()), text: String::new() }
    }

    pub(super) fn inside(mut self, field: &str, line: usize) -> Self {
        self.path.insert(0, field.to_owned());
        if self.line == 0 {
            self.line = line;
        }
        self
    }

    /// What was found and what is wanted, in the decoder's words (`array`,
    /// `string`), when a value is of the wrong type.
    pub fn mismatch(&self) -> Option<(&str, &str)> {
        match &self.problem {
            Problem::Type { got, want, .. } => Some((got, want)),
            _ => None,
        }
    }

    /// What is wrong, without place.
    pub fn problem(&self) -> String {
        match &self.problem {
            Problem::Yaml(error) => error.problem.clone(),
            Problem::Type { got, want, .. } => format!("expected {want}, found {got}"),
            Problem::Other(message) => message.clone(),
        }
    }

    /// For errors that do not pass through [`super::decode`].
    pub(crate) fn worded(self, dialect: Dialect, root: &str) -> Self {
        self.finish(dialect, root)
    }

    /// Words the message as the decoder of `dialect` would.
    pub(super) fn finish(mut self, dialect: Dialect, root: &str) -> Self {
        let path: String = self.path.iter().map(|field| format!(".{field}")).collect();
        self.text = match (&self.problem, dialect) {
            (Problem::Yaml(error), Dialect::Resource) => format!("error converting YAML to JSON: {error}"),
            (Problem::Yaml(error), Dialect::Configuration) => error.to_string(),
            (Problem::Type { got, want, .. }, Dialect::Resource) => {
                let place = if path.is_empty() {
                    format!("Go value of type {root}")
                } else {
                    format!("Go struct field {root}{path} of type {want}")
                };
                format!(
                    "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into {place}"
                ) + &line_note(self.line)
            }
            (Problem::Type { got, shown, want }, Dialect::Configuration) => {
                format!(
                    "yaml: unmarshal errors:\n  line {}: cannot unmarshal {got}{shown} into {want}",
                    self.line
                )
            }
            (Problem::Other(message), _) => format!("{root}{path}: {message}{}", line_note(self.line)),
        };
        self
    }
}

fn line_note(line: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line})") }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

impl From<YamlError> for DecodeError {
    fn from(error: YamlError) -> Self {
        Self { line: error.line, path: Vec::new(), problem: Problem::Yaml(error), text: String::new() }
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::other(0, message.to_string())
    }
}
