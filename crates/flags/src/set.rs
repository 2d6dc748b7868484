//! A list of flags.

use crate::parse::{Dashes, Parser};
use crate::{Flag, FlagError, Matches};

/// The flags of one program or command. Names and shorthands are unique.
#[derive(Clone, Debug, Default)]
pub struct FlagSet {
    flags: Vec<Flag>,
}

impl FlagSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a flag.
    ///
    /// # Panics
    /// When the name or the shorthand is taken: a mistake in the program, not
    /// in its input.
    pub fn add(&mut self, flag: Flag) {
        assert!(self.get(flag.name).is_none(), "flag redefined: {}", flag.name);
        if let Some(letter) = flag.shorthand {
            assert!(self.by_letter(letter).is_none(), "shorthand -{letter} of --{} is taken", flag.name);
        }
        self.flags.push(flag);
    }

    #[must_use]
    pub fn with(mut self, flag: Flag) -> Self {
        self.add(flag);
        self
    }

    pub fn get(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    pub fn by_letter(&self, letter: char) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.shorthand == Some(letter))
    }

    /// All flags, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Flag> {
        self.flags.iter()
    }

    /// All flags by name.
    pub fn sorted(&self) -> Vec<&Flag> {
        let mut flags: Vec<&Flag> = self.flags.iter().collect();
        flags.sort_by_key(|flag| flag.name);
        flags
    }

    pub fn has_visible(&self) -> bool {
        self.flags.iter().any(|flag| !flag.hidden)
    }

    /// Reads `args` (without the program name).
    pub fn parse<I, S>(&self, args: I, dashes: Dashes) -> Result<Matches, FlagError>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let args = args.into_iter().map(Into::into).collect();
        let mut matches = Matches::of(self);
        Parser::new(self, &mut matches, dashes.normalise(args)).run()?;
        Ok(matches)
    }

    /// Like [`FlagSet::parse`], and hands out what was read up to the error:
    /// the deprecation warnings that precede it are wanted too.
    pub(crate) fn parse_into(&self, matches: &mut Matches, args: Vec<String>) -> Result<(), FlagError> {
        Parser::new(self, matches, args).run()
    }

    /// The usage block: one line for every visible flag, sorted by name.
    pub fn usages(&self) -> String {
        crate::usage::lines(self)
    }
}

impl Extend<Flag> for FlagSet {
    fn extend<T: IntoIterator<Item = Flag>>(&mut self, flags: T) {
        for flag in flags {
            self.add(flag);
        }
    }
}
