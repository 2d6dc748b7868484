//! Runs the real `dapr` executable against a sidecar.
//!
//! The sidecar is a small stand-in that serves just what the command asks of
//! one. `DAPR_TEST_DAPRD=PATH` replaces it by a real `daprd`; the tests that
//! look into the stand-in's own output say so and are skipped then.
#![allow(dead_code, reason = "every test file uses a part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);
const STAND_IN: &str = include_str!("daprd.py");

/// A home folder with a sidecar installed in it.
pub struct Home {
    folder: tempfile::TempDir,
}

/// A `dapr` that runs in the background, its output going to a file.
pub struct Running {
    child: Child,
    output: PathBuf,
}

pub fn dapr() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dapr"))
}

pub fn is_stand_in() -> bool {
    std::env::var_os("DAPR_TEST_DAPRD").is_none()
}

impl Home {
    pub fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        let daprd = home.path().join(".dapr/bin/daprd");
        std::fs::create_dir_all(daprd.parent().unwrap()).unwrap();
        match std::env::var_os("DAPR_TEST_DAPRD") {
            Some(real) => std::os::unix::fs::symlink(real, daprd).unwrap(),
            None => write_stand_in(&daprd),
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `dapr ARGS` in this home folder.
    pub fn dapr(&self, args: &[&str]) -> Command {
        let mut command = dapr();
        command.args(args).env("HOME", self.path()).env_remove("DAPR_RUNTIME_PATH").current_dir(self.path());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.dapr(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts `dapr ARGS` with both streams in one file.
    pub fn start(&self, args: &[&str]) -> Running {
        let file = tempfile::NamedTempFile::new_in(self.path()).unwrap();
        let (file, output) = file.keep().unwrap();
        let child = self
            .dapr(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Running { child, output }
    }
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until the output holds `needle`.
    pub fn expect(&self, needle: &str) {
        eventually(|| self.text().contains(needle), || format!("no {needle:?} in\n{}", self.text()));
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end; exit code and all output.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        let output = self.output.clone();
        eventually(
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
            || format!("still running:\n{}", std::fs::read_to_string(&output).unwrap_or_default()),
        );
        (status.unwrap().code(), self.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub fn eventually(mut holds: impl FnMut() -> bool, complaint: impl FnOnce() -> String) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        if Instant::now() >= deadline {
            panic!("{}", complaint());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Whether process `pid` runs; one that only waits to be reaped does not.
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|at| stat[at + 1..].split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// The processes whose command line holds `needle`.
pub fn processes_with(needle: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let mut line = Vec::new();
        let read = std::fs::File::open(format!("/proc/{pid}/cmdline"))
            .and_then(|mut file| file.read_to_end(&mut line));
        read.is_ok() && String::from_utf8_lossy(&line).contains(needle) && is_running(*pid)
    })
    .collect()
}

/// A script named `daprd` whose interpreter is named without `env`, so that the
/// process is called `daprd` too.
fn write_stand_in(path: &Path) {
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    write_script(path, &format!("#!{}\n{STAND_IN}", python.trim()));
}

/// Writes an executable file. Another process does it: a file that is open for
/// writing cannot be executed, and tests that start processes at the same time
/// would keep a descriptor of this one open for a moment.
pub fn write_script(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "rm -f \"$0\"; cat > \"$0\"; chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
