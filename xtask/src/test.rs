//! `cargo xtask test`: installs what the tests need and is missing, builds
//! the programs once and runs every test of the workspace against them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, bail};

use crate::command::{cargo, is_installed, run};

pub const USAGE: &str = "  test [CARGO TEST ARGUMENTS]   set up the machine, build and run every test";

/// Programs the tests start and the Debian packages that have them.
const TOOLS: &[(&[&str], &[&str])] = &[
    (&["cc"], &["gcc", "libc6-dev"]),
    (&["redis-server"], &["redis-server"]),
    (&["pg_ctlcluster", "setpriv"], &["postgresql", "util-linux"]),
    (&["etcd", "etcdctl"], &["etcd-server", "etcd-client"]),
    (&["python3"], &["python3", "python3-venv", "python3-pip"]),
    (&["node", "npm"], &["nodejs", "npm"]),
    (&["go"], &["golang-go"]),
    (&["java", "javac"], &["default-jdk-headless"]),
    (&["mvn"], &["maven"]),
];

const LANGUAGES: &[&str] = &["python", "javascript", "go", "java"];
/// `tests/sdk/*/run` for a language this machine does not have.
const TOOLCHAIN_ABSENT: i32 = 77;

/// Runs the whole task; `arguments` go to `cargo test` as they are.
pub fn test(arguments: &[String]) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let target = target_folder()?;
    println!("build folder: {}", target.display());

    steps.step("tools", || install(&missing_packages()))?;
    steps.step("build", || {
        // All packages at once, as the tests do: the same features, so dependencies are compiled once.
        let mut build = cargo();
        build.args(["build", "--workspace", "--bins"]);
        run(build.env("CARGO_TARGET_DIR", &target).current_dir(root))
    })?;
    let mut absent = Vec::new();
    steps.step("sdks", || {
        for language in LANGUAGES {
            if !prepare(root, language)? {
                absent.push(*language);
            }
        }
        Ok(())
    })?;
    let tests = steps.step("tests", || {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--no-fail-fast"]).args(arguments);
        tests.env("CARGO_TARGET_DIR", &target).env("DAPR_TEST_BIN_DIR", target.join("debug"));
        run(tests.current_dir(root))
    });
    steps.print();
    for language in absent {
        println!("skipped: the {language} SDK, whose language is not on this machine");
    }
    tests
}

/// Where cargo builds: outside the clone unless told otherwise.
pub fn target_folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(std::path::absolute(folder)?);
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => std::env::home_dir()
            .context("no home folder: set XDG_CACHE_HOME or CARGO_TARGET_DIR")?
            .join(".cache"),
    };
    Ok(cache.join("dapr-rust/target"))
}

fn missing_packages() -> Vec<&'static str> {
    let absent = |programs: &[&str]| programs.iter().any(|program| !is_installed(program));
    let missing = TOOLS.iter().filter(|(programs, _)| absent(programs));
    let mut packages: Vec<_> = missing.flat_map(|(_, packages)| packages.iter().copied()).collect();
    if !packages.contains(&"python3-venv") && !python_has_venv() {
        packages.push("python3-venv");
    }
    packages
}

/// Debian ships Python's `venv` without what it needs to work.
fn python_has_venv() -> bool {
    let check = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    check.is_ok_and(|output| output.status.success())
}

pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("missing, and there is no apt-get to install them with: {}", packages.join(" "));
    }
    let apt = || {
        let root = nix::unistd::geteuid().is_root();
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["--non-interactive", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["--quiet", "--yes", "--option", "Acquire::Retries=5"]);
        command
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "--no-install-recommends"]).args(packages))
}

/// Downloads and compiles one SDK program; `false` when its language is absent.
fn prepare(root: &Path, language: &str) -> anyhow::Result<bool> {
    let script = root.join("tests/sdk").join(language).join("run");
    println!("$ {} --prepare", script.display());
    let status = Command::new(&script).arg("--prepare").stdin(std::process::Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", script.display()))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(TOOLCHAIN_ABSENT) => Ok(false),
        _ => bail!("the program with the {language} SDK could not be set up: {status}"),
    }
}

/// What has been done and how long it took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, bool, f64)>,
}

impl Steps {
    fn step(&mut self, name: &'static str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let result = body();
        self.done.push((name, result.is_ok(), start.elapsed().as_secs_f64()));
        result.with_context(|| format!("step {name} failed"))
    }

    fn print(&self) {
        println!("\n== summary");
        for (name, success, seconds) in &self.done {
            println!("{:<8} {:<8} {seconds:>7.1} s", name, if *success { "passed" } else { "FAILED" });
        }
    }
}
