//! `dapr completion`.

use std::process::ExitCode;

use dapr_flags::completion::{Shell, script};
use dapr_flags::{Command, Matches};

use super::{Handler, help_flag, tree};
use crate::context::Context;
use crate::say::stdout;

const EXAMPLE: &str = "
# Complete in this bash session
source <(dapr completion bash)

# Complete in every new zsh session
dapr completion zsh > \"${fpath[1]}/_dapr\"

# Complete in every new fish session
dapr completion fish > ~/.config/fish/completions/dapr.fish

# Complete in every new PowerShell session
dapr completion powershell >> $PROFILE
";

pub(super) fn command() -> Command<Handler> {
    let group: Command<Handler> = Command::<Handler>::new("completion", "Generates shell completion scripts")
        .example(EXAMPLE)
        .flag(help_flag());
    group
        .child(shell("bash", "Generates bash completion scripts", |_, _| print(Shell::Bash)))
        .child(shell("zsh", "Generates zsh completion scripts", |_, _| print(Shell::Zsh)))
        .child(shell("fish", "Generates fish completion scripts", |_, _| print(Shell::Fish)))
        .child(shell("powershell", "Generates powershell completion scripts", |_, _| {
            print(Shell::PowerShell)
        }))
}

fn shell(
    name: &'static str,
    short: &'static str,
    run: fn(&Context, &Matches) -> ExitCode,
) -> Command<Handler> {
    Command::<Handler>::new(name, short).flag(help_flag()).run(run)
}

fn print(shell: Shell) -> ExitCode {
    stdout(&script(&tree(), shell));
    ExitCode::SUCCESS
}
