//! Shell completion scripts, generated from the command tree: sub-commands
//! where a command is expected, flags where a word starts with a dash, files
//! everywhere else.

use crate::{Command, help};

/// A shell that a script can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    PowerShell,
}

impl Shell {
    pub const ALL: [Self; 4] = [Self::Bash, Self::Zsh, Self::Fish, Self::PowerShell];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::PowerShell => "powershell",
        }
    }
}

/// What can follow one command.
struct Node {
    /// `dapr completion`.
    path: String,
    commands: Vec<(&'static str, String)>,
    /// With dashes; the flag says whether a value follows.
    flags: Vec<Word>,
}

struct Word {
    text: String,
    help: String,
    takes_value: bool,
}

/// The script for `shell`, complete with the line that registers it.
pub fn script<H>(root: &Command<H>, shell: Shell) -> String {
    let mut nodes = Vec::new();
    collect(&mut vec![root], &mut nodes);
    let name = root.name;
    match shell {
        Shell::Bash => bash(name, &nodes),
        Shell::Zsh => zsh(name, &nodes),
        Shell::Fish => fish(name, &nodes),
        Shell::PowerShell => powershell(name, &nodes),
    }
}

fn collect<H>(lineage: &mut Vec<&Command<H>>, nodes: &mut Vec<Node>) {
    let command = *lineage.last().expect("never empty");
    let is_root = lineage.len() == 1;
    let mut commands: Vec<(&'static str, String)> =
        help::listed(command).into_iter().map(|(name, short)| (name, first_line(short))).collect();
    if is_root && !command.children.is_empty() {
        commands.push((help::HELP, first_line(help::HELP_SHORT)));
    }
    commands.sort_unstable();
    let mut flags = Vec::new();
    for flag in help::all_flags(lineage).sorted().into_iter().filter(|flag| !flag.is_hidden()) {
        let (help, takes_value) = (first_line(flag.usage()), flag.takes_value());
        flags.push(Word { text: format!("--{}", flag.name()), help: help.clone(), takes_value });
        if let Some(letter) = flag.shorthand() {
            flags.push(Word { text: format!("-{letter}"), help, takes_value });
        }
    }
    nodes.push(Node { path: help::path(lineage), commands, flags });
    for child in command.children.iter().filter(|child| !child.hidden) {
        lineage.push(child);
        collect(lineage, nodes);
        lineage.pop();
    }
}

/// One line without quotes, which every shell takes inside single quotes.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace(['\'', '`'], "").replace(':', " -")
}

/// `case` arms that hand a POSIX-like shell the words after each path, and the
/// flags that swallow the word behind them.
fn arms(nodes: &[Node], indent: &str) -> String {
    let mut out = String::new();
    for node in nodes {
        let commands: Vec<&str> = node.commands.iter().map(|(name, _)| *name).collect();
        let flags: Vec<&str> = node.flags.iter().map(|word| word.text.as_str()).collect();
        let valued: Vec<&str> =
            node.flags.iter().filter(|word| word.takes_value).map(|word| word.text.as_str()).collect();
        out.push_str(&format!(
            "{indent}'{}') commands='{}'; flags='{}'; valued=' {} ' ;;\n",
            node.path,
            commands.join(" "),
            flags.join(" "),
            valued.join(" ")
        ));
    }
    out
}

fn bash(name: &str, nodes: &[Node]) -> String {
    let arms = arms(nodes, "        ");
    format!(
        r#"# bash completion for {name}

__{name}_words() {{
    case "$1" in
{arms}        *) return 1 ;;
    esac
}}

__{name}_complete() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path='{name}' commands flags valued word at
    __{name}_words "$path"
    for ((at = 1; at < COMP_CWORD; at++)); do
        word="${{COMP_WORDS[at]}}"
        case "$word" in
            --) return 0 ;;
            -*) [[ "$valued" == *" $word "* ]] && ((at++)) ;;
            *) [[ " $commands " == *" $word "* ]] && path="$path $word" && __{name}_words "$path" ;;
        esac
    done
    COMPREPLY=()
    if ((at > COMP_CWORD)); then
        COMPREPLY=($(compgen -f -- "$current"))
    elif [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    elif [[ -n "$commands" ]]; then
        COMPREPLY=($(compgen -W "$commands" -- "$current"))
    else
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}}

complete -o filenames -F __{name}_complete {name}
"#
    )
}

fn zsh(name: &str, nodes: &[Node]) -> String {
    let mut arms = String::new();
    for node in nodes {
        let commands: Vec<String> =
            node.commands.iter().map(|(name, help)| format!("'{name}:{help}'")).collect();
        let flags: Vec<String> =
            node.flags.iter().map(|word| format!("'{}:{}'", word.text, word.help)).collect();
        let valued: Vec<&str> =
            node.flags.iter().filter(|word| word.takes_value).map(|word| word.text.as_str()).collect();
        arms.push_str(&format!(
            "        '{}') commands=({}); flags=({}); valued=({}) ;;\n",
            node.path,
            commands.join(" "),
            flags.join(" "),
            valued.join(" ")
        ));
    }
    format!(
        r#"#compdef {name}
# zsh completion for {name}

__{name}_words() {{
    case "$1" in
{arms}        *) return 1 ;;
    esac
}}

_{name}() {{
    local at word path_so_far='{name}'
    local -a commands flags valued
    __{name}_words "$path_so_far"
    for ((at = 2; at < CURRENT; at++)); do
        word="${{words[at]}}"
        case "$word" in
            --) _normal; return ;;
            -*) (( ${{valued[(Ie)$word]}} )) && ((at++)) ;;
            *) (( ${{commands[(I)$word:*]}} )) && path_so_far="$path_so_far $word" && __{name}_words "$path_so_far" ;;
        esac
    done
    if ((at > CURRENT)); then
        _files
    elif [[ "${{words[CURRENT]}}" == -* ]]; then
        _describe -o 'flag' flags
    elif (( ${{#commands}} )); then
        _describe 'command' commands
    else
        _files
    fi
}}

if [ "${{funcstack[1]}}" = "_{name}" ]; then
    _{name} "$@"
else
    compdef _{name} {name}
fi
"#
    )
}

fn fish(name: &str, nodes: &[Node]) -> String {
    let mut table = String::new();
    let mut lines = String::new();
    for node in nodes {
        let commands: Vec<&str> = node.commands.iter().map(|(name, _)| *name).collect();
        let valued: Vec<&str> =
            node.flags.iter().filter(|word| word.takes_value).map(|word| word.text.as_str()).collect();
        table.push_str(&format!(
            "        case '{}'\n            set -g __{name}_commands {}\n            set -g __{name}_valued {}\n",
            node.path,
            commands.join(" "),
            valued.join(" ")
        ));
        let condition = format!("-n '__{name}_at \"{}\"'", node.path);
        for (command, help) in &node.commands {
            lines.push_str(&format!("complete -c {name} -f {condition} -a '{command}' -d '{help}'\n"));
        }
        for word in &node.flags {
            let spelled = match word.text.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-s {}", &word.text[1..]),
            };
            let value = if word.takes_value { " -r" } else { "" };
            lines.push_str(&format!("complete -c {name} {condition} {spelled}{value} -d '{}'\n", word.help));
        }
    }
    format!(
        r#"# fish completion for {name}

function __{name}_words
    switch $argv[1]
{table}    end
end

function __{name}_path
    set -l path '{name}'
    set -l skip 0
    __{name}_words $path
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word $__{name}_valued; and set skip 1
        else if contains -- $word $__{name}_commands
            set path "$path $word"
            __{name}_words $path
        end
    end
    echo $path
end

function __{name}_at
    test (__{name}_path) = $argv[1]
end

{lines}"#
    )
}

fn powershell(name: &str, nodes: &[Node]) -> String {
    let mut table = String::new();
    for node in nodes {
        let quoted = |text: &str, help: &str| format!("@('{text}','{help}')");
        let commands: Vec<String> = node.commands.iter().map(|(name, help)| quoted(name, help)).collect();
        let flags: Vec<String> = node.flags.iter().map(|word| quoted(&word.text, &word.help)).collect();
        let valued: Vec<String> = node
            .flags
            .iter()
            .filter(|word| word.takes_value)
            .map(|word| format!("'{}'", word.text))
            .collect();
        table.push_str(&format!(
            "    '{}' = @{{ Commands = @({}); Flags = @({}); Valued = @({}) }}\n",
            node.path,
            one_of_many(&commands),
            one_of_many(&flags),
            valued.join(",")
        ));
    }
    format!(
        r#"# powershell completion for {name}

$__{name}Words = @{{
{table}}}

Register-ArgumentCompleter -Native -CommandName '{name}' -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)
    $path = '{name}'
    $skip = $false
    foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {{
        $word = $element.ToString()
        if ($element.Extent.EndOffset -ge $cursorPosition) {{ break }}
        if ($skip) {{ $skip = $false; continue }}
        if ($word.StartsWith('-')) {{
            $skip = $__{name}Words[$path].Valued -ccontains $word
        }} elseif ($__{name}Words.ContainsKey("$path $word")) {{
            $path = "$path $word"
        }}
    }}
    if ($skip) {{ return }}
    $entries = if ($wordToComplete.StartsWith('-')) {{ $__{name}Words[$path].Flags }} else {{ $__{name}Words[$path].Commands }}
    $entries | Where-Object {{ $_[0].StartsWith($wordToComplete, 'Ordinal') }} | ForEach-Object {{
        [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $_[1])
    }}
}}
"#
    )
}

/// PowerShell flattens an array of one array unless a comma leads it.
fn one_of_many(items: &[String]) -> String {
    if items.len() == 1 { format!(",{}", items[0]) } else { items.join(",") }
}
