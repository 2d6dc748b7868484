//! Usage and help texts of a command.

use crate::{Command, Flag, FlagSet};

/// Width of the name column in a list of commands.
const MIN_NAME_WIDTH: usize = 11;
/// The name of the built-in command and flag.
pub(crate) const HELP: &str = "help";
pub(crate) const HELP_SHORT: &str = "Help about any command";

/// `dapr completion bash`.
pub(crate) fn path<H>(lineage: &[&Command<H>]) -> String {
    let names: Vec<&str> = lineage.iter().map(|command| command.name).collect();
    names.join(" ")
}

/// Every flag that the last command of `lineage` accepts.
pub(crate) fn all_flags<H>(lineage: &[&Command<H>]) -> FlagSet {
    let mut set = local_flags(lineage);
    for flag in inherited_flags(lineage).iter() {
        if set.get(flag.name()).is_none() {
            set.add(flag.clone());
        }
    }
    set
}

pub(crate) fn local_flags<H>(lineage: &[&Command<H>]) -> FlagSet {
    let command = lineage.last().expect("never empty");
    let mut set = FlagSet::new();
    set.extend(command.flags.iter().cloned());
    set.extend(command.persistent.iter().cloned());
    if set.get(HELP).is_none() {
        let flag = Flag::bool(HELP, false, format!("help for {}", command.name));
        let free = set.by_letter('h').is_none();
        set.add(if free { flag.short('h') } else { flag });
    }
    set
}

fn inherited_flags<H>(lineage: &[&Command<H>]) -> FlagSet {
    let mut set = FlagSet::new();
    for ancestor in lineage.iter().rev().skip(1) {
        for flag in ancestor.persistent.iter() {
            if set.get(flag.name()).is_none() {
                set.add(flag.clone());
            }
        }
    }
    set
}

/// Name and short text of the commands shown below `command`, by name.
pub(crate) fn listed<H>(command: &Command<H>) -> Vec<(&'static str, &'static str)> {
    command.children.iter().filter(|child| !child.hidden).map(|child| (child.name, child.short)).collect()
}

/// The help: description, then usage.
pub(crate) fn help<H>(lineage: &[&Command<H>]) -> String {
    let command = lineage.last().expect("never empty");
    let text = if command.long.is_empty() { command.short } else { command.long }.trim_end();
    let usage = usage(lineage);
    if text.is_empty() { usage } else { format!("{text}\n\n{usage}") }
}

/// The usage block with all its sections, ending in a newline.
pub(crate) fn usage<H>(lineage: &[&Command<H>]) -> String {
    let command = lineage.last().expect("never empty");
    let path = path(lineage);
    let local = local_flags(lineage);
    let inherited = inherited_flags(lineage);
    let mut commands = listed(command);
    if lineage.len() == 1 && !command.children.is_empty() {
        commands.push((HELP, HELP_SHORT));
    }
    commands.sort_unstable();

    let mut out = String::from("Usage:");
    if command.handler.is_some() {
        let args =
            if command.args_usage.is_empty() { String::new() } else { format!(" {}", command.args_usage) };
        let flags = if args.contains("[flags]") { "" } else { " [flags]" };
        out.push_str(&format!("\n  {path}{args}{flags}"));
    }
    if !commands.is_empty() {
        out.push_str(&format!("\n  {path} [command]"));
    }
    if !command.aliases.is_empty() {
        out.push_str(&format!("\n\nAliases:\n  {}, {}", command.name, command.aliases.join(", ")));
    }
    if !command.example.is_empty() {
        out.push_str(&format!("\n\nExamples:\n{}", command.example));
    }
    if !commands.is_empty() {
        out.push_str("\n\nAvailable Commands:");
        let longest = command.children.iter().map(|child| child.name.len()).max().unwrap_or(0);
        let width = longest.max(MIN_NAME_WIDTH);
        commands.iter().for_each(|(name, short)| out.push_str(&format!("\n  {name:width$} {short}")));
    }
    if local.has_visible() {
        out.push_str(&format!("\n\nFlags:\n{}", local.usages().trim_end()));
    }
    if inherited.has_visible() {
        out.push_str(&format!("\n\nGlobal Flags:\n{}", inherited.usages().trim_end()));
    }
    if !commands.is_empty() {
        out.push_str(&format!("\n\nUse \"{path} [command] --help\" for more information about a command."));
    }
    out.push('\n');
    out
}
