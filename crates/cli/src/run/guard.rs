//! The guard: a second process of this executable that outlives the command
//! just long enough to end what the command started.
//!
//! The command tells it through a pipe which processes and groups run. The pipe
//! ends with the command, however that dies (`kill -9` included), and the guard
//! then ends whatever is left. Why not a parent-death signal in each child:
//! setting one between fork and exec needs unsafe code, it reaches the child
//! alone and not what the child started, and a wrapper around every application
//! would change the process ids that other tools see. One guard serves any
//! number of applications and any sidecar program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::group;

const REQUEST: &str = "__guard";
const DONE: &str = "done";
/// How long processes may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// The command's end of the guard.
#[derive(Debug)]
pub(super) struct Guard {
    process: Mutex<Option<(Child, ChildStdin)>>,
}

impl Guard {
    /// Starts the guard. Without one (no executable to start) all else works.
    pub fn start(executable: Option<&Path>) -> Self {
        let start = |path: &Path| {
            let mut child = Command::new(path)
                .arg0("dapr")
                .arg(REQUEST)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .current_dir("/")
                // Ctrl-C and `stop` reach the command's group, never the guard.
                .process_group(0)
                .spawn()
                .ok()?;
            let pipe = child.stdin.take()?;
            Some((child, pipe))
        };
        Self { process: Mutex::new(executable.and_then(start)) }
    }

    /// Ends `pid` should the command die.
    pub fn watch_process(&self, pid: i32) {
        self.tell(&format!("process {pid}"));
    }

    /// Ends the group of `pid` should the command die.
    pub fn watch_group(&self, pid: i32) {
        self.tell(&format!("group {pid}"));
    }

    /// `pid` is gone and its number may be used again.
    pub fn forget(&self, pid: i32) {
        self.tell(&format!("gone {pid}"));
    }

    fn tell(&self, line: &str) {
        if let Some((_, pipe)) = self.process.lock().as_mut() {
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tell(DONE);
        if let Some((mut child, pipe)) = self.process.lock().take() {
            drop(pipe);
            let _ = child.wait();
        }
    }
}

pub(crate) fn is_request(args: &[OsString]) -> bool {
    args.len() == 2 && args[1] == REQUEST
}

/// The guard process.
pub(crate) fn main() -> ExitCode {
    let mut watched: BTreeMap<i32, bool> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line == DONE {
            return ExitCode::SUCCESS;
        }
        let Some((what, pid)) = line.split_once(' ') else { continue };
        let Ok(pid) = pid.parse() else { continue };
        match what {
            "process" => drop(watched.insert(pid, false)),
            "group" => drop(watched.insert(pid, true)),
            _ => drop(watched.remove(&pid)),
        }
    }
    end(&watched);
    ExitCode::SUCCESS
}

fn end(watched: &BTreeMap<i32, bool>) {
    let send = |signal| {
        for (pid, is_group) in watched {
            match is_group {
                true => group::signal(*pid, signal),
                false => drop(kill(Pid::from_raw(*pid), signal)),
            }
        }
    };
    let is_alive = |(pid, is_group): (&i32, &bool)| match is_group {
        true => group::is_alive(*pid),
        false => kill(Pid::from_raw(*pid), None).is_ok(),
    };
    let deadline = Instant::now() + GRACE;
    send(Signal::SIGTERM);
    while watched.iter().any(is_alive) {
        if Instant::now() >= deadline {
            return send(Signal::SIGKILL);
        }
        std::thread::park_timeout(POLL);
    }
}
