//! `cargo xtask example`: installs what the example's applications run on and
//! is missing, builds `dapr` and runs the example's run file with it.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::{
    command::{cargo, is_installed, run},
    test::{install, target_folder},
};

pub const USAGE: &str =
    "  example [NAME] [DAPR ARGUMENTS]   build dapr and run examples/NAME (default: orders)";

const DEFAULT: &str = "orders";
const RUN_FILE: &str = "dapr.yaml";
/// Programs that the applications are started with, and their Debian packages.
const LANGUAGES: &[(&str, &str)] = &[("python3", "python3"), ("node", "nodejs")];

/// Becomes `dapr run`, so that signals reach it and its exit code is ours.
pub fn example(arguments: &[String]) -> anyhow::Result<()> {
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with('-') => (name.as_str(), rest),
        _ => (DEFAULT, arguments),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let folder = root.join("examples").join(name);
    if !folder.join(RUN_FILE).is_file() {
        bail!("no example is called {name}: {} has no {RUN_FILE}", folder.display());
    }
    let absent = LANGUAGES.iter().filter(|(program, _)| !is_installed(program));
    install(&absent.map(|(_, package)| *package).collect::<Vec<_>>())?;

    let target = target_folder()?;
    // Not optimised: the example shall run soon, and `cargo xtask test` goes on from there.
    let mut build = cargo();
    build.args(["build", "--package", "dapr"]);
    run(build.env("CARGO_TARGET_DIR", &target).current_dir(root))?;

    let mut dapr = Command::new(target.join("debug/dapr"));
    dapr.args(["run", "--run-file"]).arg(&folder).args(rest).current_dir(root);
    println!("$ dapr run --run-file {}", folder.display());
    Err(dapr.exec()).context("cannot start dapr")
}
