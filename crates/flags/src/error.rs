//! Why a command line was refused; the display is the text users and scripts see.

use dapr_gocompat::quote::quote;

use crate::Flag;

/// A command line that the flag set does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    #[error("unknown shorthand flag: {} in -{group}", quote_char(*letter))]
    UnknownShorthand { letter: char, group: String },
    #[error("flag needs an argument: --{0}")]
    MissingValue(String),
    #[error("flag needs an argument: {} in -{group}", quote_char(*letter))]
    MissingShorthandValue { letter: char, group: String },
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    #[error("invalid argument {} for {} flag: {cause}", quote(value), quote(flag))]
    InvalidValue { flag: String, value: String, cause: String },
    /// `--help` or `-h` in a set that defines no such flag.
    #[error("pflag: help requested")]
    Help,
}

impl FlagError {
    pub(crate) fn invalid(flag: &Flag, value: &str, cause: String) -> Self {
        let name = match flag.shorthand {
            Some(letter) => format!("-{letter}, --{}", flag.name),
            None => format!("--{}", flag.name),
        };
        Self::InvalidValue { flag: name, value: value.to_owned(), cause }
    }
}

fn quote_char(letter: char) -> String {
    match letter {
        '\'' => r"'\''".to_owned(),
        '"' => r#"'"'"#.to_owned(),
        _ => {
            let quoted = quote(&letter.to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}
