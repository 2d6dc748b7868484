//! Runs a target in processes of its own and keeps what ended them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::WORKER;
use crate::progress::Progress;
use crate::targets::Target;

/// For one input, which takes milliseconds; a busy machine may keep it waiting.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// After so many different failures the rest is more of the same.
const ENOUGH: usize = 20;

/// Whether the target survived. What it did not survive lies in
/// `fuzz/artifacts/TARGET`.
pub fn run(target: &Target, seed: u64, duration: Duration) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("progress");
    fs::write(&path, [])?;
    let progress = Progress::open(&path)?;
    let end = Instant::now() + duration;
    let mut failures = BTreeSet::new();
    let mut first = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || failures.len() >= ENOUGH {
            break;
        }
        let stderr = folder.path().join("stderr");
        let child = start(target, seed, first, left, &path, &stderr)?;
        let Some(status) = watch(child, &progress)? else {
            let failure = format!("no end within {PATIENCE:?}");
            keep(target, &progress, &failure, &mut failures)?;
            first = progress.iteration()? + 1;
            continue;
        };
        if !status.success() {
            let failure = reason(status, &fs::read_to_string(&stderr).unwrap_or_default());
            keep(target, &progress, &failure, &mut failures)?;
        }
        first = progress.iteration()? + 1;
    }
    println!("{}: {first} inputs, {} failures", target.name, failures.len());
    Ok(failures.is_empty())
}

fn start(
    target: &Target,
    seed: u64,
    first: u64,
    left: Duration,
    progress: &Path,
    stderr: &Path,
) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([target.name, "--seed", &seed.to_string()]);
    command.args(["--seconds", &left.as_secs().max(1).to_string()]);
    command.arg(WORKER).arg(progress).arg(first.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(stderr)?);
    command.spawn().context("cannot start a process for the target")
}

/// `None` when one input took too long; the process is gone then, too.
#[expect(clippy::disallowed_methods, reason = "there is no runtime to block")]
fn watch(mut child: Child, progress: &Progress) -> anyhow::Result<Option<ExitStatus>> {
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = progress.iteration()?;
        if seen != Some(now) {
            (seen, since) = (Some(now), Instant::now());
        } else if since.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// The place of the panic, or how the process ended.
fn reason(status: ExitStatus, stderr: &str) -> String {
    let panic = stderr.lines().find(|line| line.contains("panicked at"));
    let place = panic.and_then(|line| line.split("panicked at ").nth(1));
    let overflow = stderr.contains("stack overflow").then_some("stack overflow");
    place.or(overflow).map_or_else(|| format!("{status}: {stderr}"), str::to_owned)
}

/// One input for each kind of failure.
fn keep(
    target: &Target,
    progress: &Progress,
    failure: &str,
    failures: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    if !failures.insert(failure.to_owned()) {
        return Ok(());
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(target.name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("input-{}", progress.iteration()?));
    fs::write(&path, progress.input()?)?;
    println!("{}: {failure}\n  input: {}", target.name, path.display());
    Ok(())
}
