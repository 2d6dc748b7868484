//! A tree of commands and how a command line finds its way through it.

use dapr_gocompat::quote::{fmt_list, quote};

use crate::suggest::resembles;
use crate::{Flag, FlagError, FlagSet, Matches, help};

/// How many positionals a command takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgCount {
    /// Any, except below a root with sub-commands, where a word must name one.
    #[default]
    Any,
    None,
    AtLeast(usize),
    Exactly(usize),
}

/// Flags that depend on each other.
#[derive(Clone, Debug)]
pub enum FlagGroup {
    /// One of them requires all.
    Together(Vec<&'static str>),
    /// At most one of them.
    Exclusive(Vec<&'static str>),
    /// The first, except where the second stands in for it.
    Unless { required: &'static str, unless: &'static str },
}

/// One command; `H` is what the program attaches to it, usually a function.
#[derive(Clone, Debug)]
pub struct Command<H> {
    pub(crate) name: &'static str,
    pub(crate) args_usage: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) short: &'static str,
    pub(crate) long: &'static str,
    pub(crate) example: &'static str,
    pub(crate) hidden: bool,
    raw: bool,
    args: ArgCount,
    pub(crate) flags: FlagSet,
    pub(crate) persistent: FlagSet,
    required: Vec<&'static str>,
    groups: Vec<FlagGroup>,
    pub(crate) handler: Option<H>,
    pub(crate) children: Vec<Command<H>>,
}

/// Where a command line leads.
#[derive(Debug)]
pub struct Resolved<'a, H> {
    /// Lines for stderr, to print before anything else.
    pub warnings: Vec<String>,
    pub outcome: Outcome<'a, H>,
}

#[derive(Debug)]
pub enum Outcome<'a, H> {
    /// Call the handler.
    Run { handler: &'a H, path: String, matches: Matches },
    /// Print on stdout and end with success.
    Help(String),
    /// Print on stderr and end with success: `help` on an unknown topic.
    UnknownTopic(String),
    /// `stderr` holds the complete text for stderr, `message` the bare reason.
    Refused { message: String, stderr: String },
}

impl<H> Command<H> {
    pub fn new(name: &'static str, short: &'static str) -> Self {
        Self {
            name,
            args_usage: "",
            aliases: &[],
            short,
            long: "",
            example: "",
            hidden: false,
            raw: false,
            args: ArgCount::default(),
            flags: FlagSet::new(),
            persistent: FlagSet::new(),
            required: Vec::new(),
            groups: Vec::new(),
            handler: None,
            children: Vec::new(),
        }
    }

    /// What follows the command's path in the usage line.
    #[must_use]
    pub fn args_usage(mut self, text: &'static str) -> Self {
        self.args_usage = text;
        self
    }

    #[must_use]
    pub fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Replaces the short text at the top of the help.
    #[must_use]
    pub fn long(mut self, text: &'static str) -> Self {
        self.long = text;
        self
    }

    #[must_use]
    pub fn example(mut self, text: &'static str) -> Self {
        self.example = text;
        self
    }

    /// Neither listed nor suggested.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Everything behind the command's name goes to the handler as positionals.
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    #[must_use]
    pub fn args(mut self, count: ArgCount) -> Self {
        self.args = count;
        self
    }

    #[must_use]
    pub fn flag(mut self, flag: Flag) -> Self {
        self.flags.add(flag);
        self
    }

    /// A flag of this command and all below it.
    #[must_use]
    pub fn persistent_flag(mut self, flag: Flag) -> Self {
        self.persistent.add(flag);
        self
    }

    #[must_use]
    pub fn require(mut self, names: &[&'static str]) -> Self {
        self.required.extend(names);
        self
    }

    #[must_use]
    pub fn group(mut self, group: FlagGroup) -> Self {
        self.groups.push(group);
        self
    }

    #[must_use]
    pub fn run(mut self, handler: H) -> Self {
        self.handler = Some(handler);
        self
    }

    #[must_use]
    pub fn child(mut self, command: Self) -> Self {
        self.children.push(command);
        self
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sub-commands, hidden ones included, in the order they were added.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// Finds the command that `args` (without the program name) ask for, reads
    /// its flags and checks them. This is the root of the tree.
    pub fn resolve(&self, args: Vec<String>) -> Resolved<'_, H> {
        let mut lineage = vec![self];
        let rest = find(&mut lineage, args);
        let command = *lineage.last().expect("starts with the root");
        if lineage.len() == 1
            && let Some(at) = command.unknown_child(&rest)
        {
            let outcome = match rest[at].as_str() {
                help::HELP => self.help_on(&rest[at + 1..]),
                word => refused_word(command, word),
            };
            return Resolved { warnings: Vec::new(), outcome };
        }
        let set = help::all_flags(&lineage);
        let mut matches = Matches::of(&set);
        if command.raw {
            rest.into_iter().for_each(|arg| matches.push_positional(arg));
            return command.invoke(&lineage, matches);
        }
        let parsed = set.parse_into(&mut matches, rest);
        let warnings = matches.warnings().to_vec();
        let outcome = match parsed {
            Err(FlagError::Help) => Outcome::Help(help::help(&lineage)),
            Err(error) => refused(&lineage, error.to_string()),
            Ok(()) if matches.bool("help") => Outcome::Help(help::help(&lineage)),
            Ok(()) => match command.check(&lineage, &matches) {
                Err(message) => refused(&lineage, message),
                Ok(()) => return command.invoke(&lineage, matches),
            },
        };
        Resolved { warnings, outcome }
    }

    fn invoke(&self, lineage: &[&Self], matches: Matches) -> Resolved<'_, H> {
        let warnings = matches.warnings().to_vec();
        let outcome = match &self.handler {
            Some(handler) => Outcome::Run { handler, path: help::path(lineage), matches },
            None => Outcome::Help(help::help(lineage)),
        };
        Resolved { warnings, outcome }
    }

    fn help_on(&self, topic: &[String]) -> Outcome<'_, H> {
        let mut lineage = vec![self];
        let rest = find(&mut lineage, topic.to_vec());
        if lineage.len() == 1 && self.unknown_child(&rest).is_some() {
            let words: Vec<String> = topic.iter().map(|word| format!("`{word}`")).collect();
            let usage = help::usage(&lineage);
            return Outcome::UnknownTopic(format!("Unknown help topic {}\n{usage}", fmt_list(&words)));
        }
        Outcome::Help(help::help(&lineage))
    }

    /// The place of the word that should have named a sub-command.
    fn unknown_child(&self, args: &[String]) -> Option<usize> {
        let takes_children = !self.children.is_empty() && !self.raw;
        if takes_children { first_word(&help::all_flags(&[self]), args) } else { None }
    }

    fn check(&self, lineage: &[&Self], matches: &Matches) -> Result<(), String> {
        let count = matches.positionals().len();
        match self.args {
            ArgCount::None if count > 0 => {
                let word = &matches.positionals()[0];
                Err(format!("unknown command {} for {}", quote(word), quote(&help::path(lineage))))
            }
            ArgCount::AtLeast(min) if count < min => {
                Err(format!("requires at least {min} arg(s), only received {count}"))
            }
            ArgCount::Exactly(wanted) if count != wanted => {
                Err(format!("accepts {wanted} arg(s), received {count}"))
            }
            _ => Ok(()),
        }?;
        self.check_required(matches)?;
        self.groups.iter().try_for_each(|group| check_group(group, matches))
    }

    fn check_required(&self, matches: &Matches) -> Result<(), String> {
        let mut missing: Vec<&str> =
            self.required.iter().copied().filter(|name| !matches.changed(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        Err(format!(r#"required flag(s) "{}" not set"#, missing.join(r#"", ""#)))
    }
}

fn check_group(group: &FlagGroup, matches: &Matches) -> Result<(), String> {
    let names = match group {
        FlagGroup::Together(names) | FlagGroup::Exclusive(names) => names,
        FlagGroup::Unless { required, unless } => {
            let given = [required, unless].into_iter().any(|name| matches.changed(name));
            return if given { Ok(()) } else { Err(format!(r#"required flag(s) "{required}" not set"#)) };
        }
    };
    let (mut set, mut unset): (Vec<&str>, Vec<&str>) =
        names.iter().copied().partition(|name| matches.changed(name));
    set.sort_unstable();
    unset.sort_unstable();
    let all = fmt_list(names);
    match group {
        FlagGroup::Together(_) if !set.is_empty() && !unset.is_empty() => Err(format!(
            "if any flags in the group {all} are set they must all be set; missing {}",
            fmt_list(&unset)
        )),
        FlagGroup::Exclusive(_) if set.len() > 1 => Err(format!(
            "if any flags in the group {all} are set none of the others can be; {} were all set",
            fmt_list(&set)
        )),
        _ => Ok(()),
    }
}

/// Descends as long as the first word names a sub-command and returns what is
/// left; flags that stood before the word stay.
fn find<H>(lineage: &mut Vec<&Command<H>>, mut args: Vec<String>) -> Vec<String> {
    loop {
        let command = *lineage.last().expect("never empty");
        if command.raw {
            return args;
        }
        let flags = help::all_flags(lineage);
        let child = first_word(&flags, &args).and_then(|at| {
            let word = args[at].as_str();
            let child = command.children.iter().find(|c| c.name == word || c.aliases.contains(&word))?;
            Some((at, child))
        });
        match child {
            Some((at, child)) => {
                args.remove(at);
                lineage.push(child);
            }
            None => return args,
        }
    }
}

/// The place of the first argument that is neither a flag nor a flag's value.
/// A flag nobody knows counts as taking one.
fn first_word(flags: &FlagSet, args: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let takes_next = if arg == "--" {
            return None;
        } else if let Some(name) = arg.strip_prefix("--") {
            !name.contains('=') && flags.get(name).is_none_or(Flag::takes_value)
        } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let mut letters = letters.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => flags.by_letter(letter).is_none_or(Flag::takes_value),
                _ => false,
            }
        } else if arg.is_empty() {
            false
        } else {
            return Some(at);
        };
        at += if takes_next { 2 } else { 1 };
    }
    None
}

fn refused<'a, H>(lineage: &[&'a Command<H>], message: String) -> Outcome<'a, H> {
    let stderr = format!("Error: {message}\n{}\n", help::usage(lineage));
    Outcome::Refused { message, stderr }
}

fn refused_word<'a, H>(root: &'a Command<H>, word: &str) -> Outcome<'a, H> {
    let mut message = format!("unknown command {} for {}", quote(word), quote(root.name));
    let near: Vec<&str> =
        help::listed(root).into_iter().map(|entry| entry.0).filter(|name| resembles(word, name)).collect();
    if !near.is_empty() {
        message.push_str("\n\nDid you mean this?\n");
        near.iter().for_each(|name| message.push_str(&format!("\t{name}\n")));
    }
    let stderr = format!("Error: {message}\nRun '{} --help' for usage.\n", root.name);
    Outcome::Refused { message, stderr }
}
