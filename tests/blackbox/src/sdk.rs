//! The programs in `tests/sdk`: one folder a language, each with a `run`
//! script that sets up what it needs outside the clone and starts the program.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

/// Downloads and compilation included.
const LIMIT: Duration = Duration::from_secs(1800);

/// The exit code of a `run` script whose language is not on this machine.
const TOOLCHAIN_ABSENT: i32 = 77;

/// What came of one run of a program.
pub enum Outcome {
    /// The language's tools are absent; the reason.
    Skipped(String),
    /// The lines the program printed.
    Ran { success: bool, output: String },
}

/// The folder of one language's program.
pub fn folder(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk").join(language)
}

/// Downloads and compiles what the program needs: before the sidecar starts,
/// so that nobody waits for an application that is still being built.
pub async fn prepare(language: &str) -> Outcome {
    run(language, &["--prepare"], &[]).await
}

/// Runs `tests/sdk/LANGUAGE/run` with `variables`.
pub async fn run(language: &str, arguments: &[&str], variables: &[(&str, String)]) -> Outcome {
    let script = folder(language).join("run");
    let child = Command::new(&script)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", script.display()));
    let output = match timeout(LIMIT, child.wait_with_output()).await {
        Ok(output) => output.expect("own child"),
        Err(_) => panic!("{} {arguments:?} still runs after {LIMIT:?}", script.display()),
    };
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(TOOLCHAIN_ABSENT) {
        return Outcome::Skipped(text.trim().into());
    }
    Outcome::Ran { success: output.status.success(), output: text }
}
