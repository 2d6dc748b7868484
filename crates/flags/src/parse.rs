//! Reading arguments against a flag set.

use std::collections::VecDeque;

use crate::{Flag, FlagError, FlagSet, Matches};

/// How leading dashes are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dashes {
    /// `--long`, `-s`, `-abc` for three shorthands.
    #[default]
    Grouped,
    /// Any argument of more than two characters that starts with one dash gets
    /// a second one, so that `-mode x` is `--mode x`. This reaches values too
    /// (runtime.md §1): `-123` becomes `--123`, while `-1` survives.
    SingleIsLong,
}

impl Dashes {
    pub(crate) fn normalise(self, mut args: Vec<String>) -> Vec<String> {
        if self == Self::SingleIsLong {
            for arg in &mut args {
                if arg.len() > 2 && arg.starts_with('-') && !arg.starts_with("--") {
                    arg.insert(0, '-');
                }
            }
        }
        args
    }
}

pub(crate) struct Parser<'a> {
    set: &'a FlagSet,
    matches: &'a mut Matches,
    rest: VecDeque<String>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(set: &'a FlagSet, matches: &'a mut Matches, args: Vec<String>) -> Self {
        Self { set, matches, rest: args.into() }
    }

    pub(crate) fn run(mut self) -> Result<(), FlagError> {
        while let Some(arg) = self.rest.pop_front() {
            if arg == "--" {
                self.matches.end_of_flags();
                for arg in std::mem::take(&mut self.rest) {
                    self.matches.push_positional(arg);
                }
            } else if let Some(long) = arg.strip_prefix("--") {
                self.long(long)?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                self.shorthands(&arg[1..])?;
            } else {
                self.matches.push_positional(arg);
            }
        }
        Ok(())
    }

    fn long(&mut self, text: &str) -> Result<(), FlagError> {
        if text.starts_with(['-', '=']) {
            return Err(FlagError::BadSyntax(format!("--{text}")));
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some(flag) = self.set.get(name) else {
            return Err(match name {
                "help" => FlagError::Help,
                _ => FlagError::UnknownFlag(name.to_owned()),
            });
        };
        if let Some(value) = inline {
            return self.matches.set(flag, value);
        }
        self.set_implied_or_next(flag, || FlagError::MissingValue(name.to_owned()))
    }

    fn shorthands(&mut self, group: &str) -> Result<(), FlagError> {
        let mut letters = group.char_indices();
        while let Some((at, letter)) = letters.next() {
            let group = &group[at..];
            let Some(flag) = self.set.by_letter(letter) else {
                return Err(match letter {
                    'h' => FlagError::Help,
                    _ => FlagError::UnknownShorthand { letter, group: group.to_owned() },
                });
            };
            let tail = letters.as_str();
            match tail.strip_prefix('=') {
                Some(value) if !value.is_empty() => return self.matches.set(flag, value),
                _ if !flag.takes_value() => self.set_implied_or_next(flag, || FlagError::Help)?,
                _ if !tail.is_empty() => return self.matches.set(flag, tail),
                _ => {
                    let missing = || FlagError::MissingShorthandValue { letter, group: group.to_owned() };
                    return self.set_implied_or_next(flag, missing);
                }
            }
        }
        Ok(())
    }

    fn set_implied_or_next(&mut self, flag: &Flag, missing: impl Fn() -> FlagError) -> Result<(), FlagError> {
        match flag.implied_value() {
            Some(value) => self.matches.set(flag, value),
            None => {
                let value = self.rest.pop_front().ok_or_else(missing)?;
                self.matches.set(flag, &value)
            }
        }
    }
}
