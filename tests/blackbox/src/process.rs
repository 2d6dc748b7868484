use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// Lines of a log shown with a failure.
const SHOWN_LINES: usize = 60;

/// A child process whose output goes to a file. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with stdout and stderr going to the end of `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("log file");
        let err = out.try_clone().expect("second handle of the log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { name: name.into(), child, log: log.into() }
    }

    /// Everything the process has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of the output, for a failure's message.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// The exit status if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child")
    }

    /// Waits for the process to end by itself.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("own child"),
            Err(_) => panic!("{} still runs after {limit:?}; its output ends:\n{}", self.name, self.tail()),
        }
    }

    /// Asks the process to end and waits for it.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(limit).await
    }

    /// Asks the process to start over in itself.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`: the process gets no chance to finish anything.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("own child");
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.id() {
            let id = i32::try_from(id).expect("process ids fit");
            kill(Pid::from_raw(id), signal).expect("own child");
        }
    }
}
