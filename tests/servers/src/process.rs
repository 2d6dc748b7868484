use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
const LOG: &str = "log";

/// One server's port, folder and process. Which program it is, and when it
/// answers, is for its own type to say.
pub(crate) struct ServerProcess {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    process: Option<Child>,
}

impl ServerProcess {
    /// An empty folder; nothing runs yet.
    pub(crate) fn new(name: &str, port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().expect("a folder for temporary files");
        Self { folder, port, process: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// What the server has written since it was last started.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file(LOG)).unwrap_or_default()
    }

    /// Runs `command` until [`ServerProcess::kill`] and waits for `ready`.
    pub(crate) async fn run(&mut self, mut command: Command, mut ready: impl AsyncFnMut(&Self) -> bool) {
        assert!(self.process.is_none(), "the server still runs");
        let program = command.get_program().to_string_lossy().into_owned();
        let out = std::fs::File::create(self.file(LOG)).expect("own folder");
        let err = out.try_clone().expect("second handle of the log file");
        let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        self.process = Some(started.unwrap_or_else(|e| panic!("{program} is not installed: {e}")));
        let begin = Instant::now();
        while !ready(self).await {
            let late = begin.elapsed() >= START_LIMIT;
            assert!(!late, "{program} does not answer on port {}:\n{}", self.port, self.log());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// As a power failure: SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.take() {
            process.kill().expect("own child");
            process.wait().expect("own child");
        }
    }

    /// The process, for whoever has to end it in a way of its own.
    pub(crate) fn take(&mut self) -> Option<Child> {
        self.process.take()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
