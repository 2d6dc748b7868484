//! `dapr uninstall` (cli.md §3.4).

use std::io;
use std::path::Path;
use std::process::ExitCode;

use dapr_flags::{Command, Flag, Matches};

use super::{Handler, help_flag, kubernetes_flag, later};
use crate::context::Context;
use crate::say::Level;

const EXAMPLE: &str = "
# Uninstall Dapr
dapr uninstall

# Uninstall Dapr and remove components, configuration and data as well
dapr uninstall --all

# Uninstall Dapr from the .dapr directory in another folder
dapr uninstall --runtime-path <path-to-install-directory>
";

pub(super) fn command() -> Command<Handler> {
    let unused = "Accepted and not used: no container engine is needed";
    Command::<Handler>::new("uninstall", "Uninstall Dapr runtime. Supported platforms: Self-hosted")
        .example(EXAMPLE)
        .flag(help_flag())
        .flag(Flag::bool("all", false, "Remove the .dapr directory with components, configuration and data"))
        .flag(Flag::string("network", "", unused))
        .flag(Flag::string("container-runtime", "docker", unused))
        .flag(kubernetes_flag())
        .flag(Flag::bool("dev", false, "").hidden())
        .flag(Flag::uint("timeout", 300, "").hidden())
        .flag(Flag::string("namespace", "dapr-system", "").short('n').hidden())
        .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    let say = context.say;
    if matches.bool("kubernetes") && !context.runtime_path().is_empty() {
        say.failure("--runtime-path is only valid for self-hosted mode");
        return ExitCode::FAILURE;
    }
    if let Some(code) = later::refuse_kubernetes(context, matches, "uninstall") {
        return code;
    }
    if !matches!(matches.string("container-runtime").trim(), "docker" | "podman") {
        say.out(Level::Failure, "Invalid container runtime. Supported values are docker and podman.");
        return ExitCode::FAILURE;
    }
    say.info("Removing Dapr from your machine...");
    let layout = match context.layout() {
        Ok(layout) => layout,
        Err(error) => {
            say.failure(format!("Error removing Dapr: {error}"));
            return ExitCode::SUCCESS;
        }
    };
    if let Err(error) = remove(context, &layout.bin()) {
        say.warning(format!("WARNING: could not delete dapr bin dir: {}: {error}", layout.bin().display()));
    }
    // Links that `run` made for itself; not worth a message.
    let _ = std::fs::remove_dir_all(layout.run());
    if matches.bool("all")
        && let Err(error) = remove(context, layout.root())
    {
        say.warning(format!("WARNING: could not delete dapr dir {}: {error}", layout.root().display()));
    }
    say.success("Dapr has been removed successfully");
    ExitCode::SUCCESS
}

fn remove(context: &Context, folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        context.say.warning(format!("WARNING: {} does not exist", folder.display()));
        return Ok(());
    }
    context.say.info(format!("Removing directory: {}", folder.display()));
    std::fs::remove_dir_all(folder)
}
