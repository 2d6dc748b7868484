//! The usage block of a flag set.

use crate::{Flag, FlagSet, Kind};

/// One line a visible flag: shorthand, name, type, then the text in a common
/// column, the default and a deprecation note.
pub(crate) fn lines(set: &FlagSet) -> String {
    let rows: Vec<(String, String)> =
        set.sorted().into_iter().filter(|flag| !flag.hidden).map(|flag| (head(flag), tail(flag))).collect();
    let width = rows.iter().map(|(head, _)| head.len()).max().unwrap_or(0);
    // Continuation lines start in the text column.
    let indent = format!("\n{}", " ".repeat(width + 3));
    let mut out = String::new();
    for (head, tail) in rows {
        let tail = tail.replace('\n', &indent);
        out.push_str(&format!("{head:width$}   {tail}\n"));
    }
    out
}

fn head(flag: &Flag) -> String {
    let name = match flag.shorthand {
        Some(letter) => format!("  -{letter}, --{}", flag.name),
        None => format!("      --{}", flag.name),
    };
    match type_name(flag).0 {
        "" => name,
        kind => format!("{name} {kind}"),
    }
}

fn tail(flag: &Flag) -> String {
    let mut text = type_name(flag).1;
    if let Some(default) = flag.default.shown_default() {
        text.push_str(&format!(" (default {default})"));
    }
    if let Some(hint) = flag.deprecated {
        text.push_str(&format!(" (DEPRECATED: {hint})"));
    }
    text
}

/// The placeholder of the value and the usage text: a name in back quotes in
/// the text takes the place of the type.
fn type_name(flag: &Flag) -> (&str, String) {
    let usage: &str = &flag.usage;
    if let Some((before, rest)) = usage.split_once('`')
        && let Some((name, after)) = rest.split_once('`')
    {
        return (name, format!("{before}{name}{after}"));
    }
    let name = match flag.kind() {
        Kind::Bool => "",
        Kind::String => "string",
        Kind::Int => "int",
        Kind::Uint => "uint",
        Kind::Duration => "duration",
        Kind::List => "strings",
        Kind::Array => "stringArray",
        Kind::Count => "count",
    };
    (name, usage.to_owned())
}
