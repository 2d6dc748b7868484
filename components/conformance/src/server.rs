//! Servers that a component's tests start for themselves: on a free port of
//! loopback, with their files in a folder that goes with them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};

/// How long anything may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// One server's port, folder and process. Which program it is, and when it
/// answers, is for the component's tests to say.
pub struct ServerProcess {
    folder: tempfile::TempDir,
    pub port: u16,
    process: Option<Child>,
}

impl ServerProcess {
    /// An empty folder and a free port; nothing runs yet.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().expect("a folder for temporary files");
        Self { folder, port: free_port(), process: None }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs `command` until [`ServerProcess::kill`] and waits for `ready`.
    pub async fn run(&mut self, mut command: Command, ready: impl AsyncFnMut() -> bool) {
        assert!(self.process.is_none(), "the server still runs");
        let program = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(started.unwrap_or_else(|e| panic!("{program} is not installed: {e}")));
        eventually(&format!("{program} answers on port {}", self.port), ready).await;
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.take() {
            process.kill().expect("own child");
            process.wait().expect("own child");
        }
    }

    /// The process, for whoever has to end it in a way of its own.
    pub fn take(&mut self) -> Option<Child> {
        self.process.take()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("it is bound").port()
}

/// Context of a component `test` whose metadata is `items`.
pub fn context(component_type: &str, items: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: component_type.into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).expect("a test's own metadata"),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Waits until `done`, which is asked every few milliseconds.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < START_LIMIT, "{what}: not within {START_LIMIT:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
