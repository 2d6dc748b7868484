//! A PostgreSQL server of our own on a free loopback port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use tokio_postgres::{Client, NoTls};

const START_LIMIT: Duration = Duration::from_secs(60);
/// Whom Debian's package runs the server as: it refuses to run as root.
const USER: &str = "postgres";

pub struct TestServer {
    folder: tempfile::TempDir,
    pub port: u16,
    process: Option<Child>,
}

impl TestServer {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("postgresql").tempdir().unwrap();
        if is_root() {
            let user =
                nix::unistd::User::from_name(USER).unwrap().expect("user postgres of Debian's package");
            nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let data = folder.path().join("data");
        let made = server_program("initdb")
            .args(["--auth", "trust", "--username", "tester", "--no-sync", "--encoding", "UTF8", "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb is installed");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { folder, port: free_port(), process: None };
        server.restart().await;
        server
    }

    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        let folder = self.folder.path();
        let process = server_program("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-h", "127.0.0.1", "-F", "-p", &self.port.to_string(), "-k"])
            .arg(folder)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres is installed");
        self.process = Some(process);
        let begin = Instant::now();
        while tokio_postgres::connect(&self.connection_string(), NoTls).await.is_err() {
            assert!(begin.elapsed() < START_LIMIT, "postgres does not answer on port {}", self.port);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends all connections at once and stops.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The server's own process: the one started may be the change of user.
        let recorded = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid"));
        let pid = recorded.ok().and_then(|text| text.lines().next()?.parse().ok());
        if let Some(pid) = pid {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT);
        } else {
            let _ = process.kill();
        }
        let _ = process.wait();
    }

    pub fn connection_string(&self) -> String {
        format!("host=127.0.0.1 port={} user=tester dbname=postgres", self.port)
    }

    /// A connection beside the component under test.
    pub async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.connection_string(), NoTls).await.unwrap();
        TaskGroup::new(Shutdown::new()).spawn("client", connection);
        client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program of the server's, run as a user that may.
fn server_program(name: &str) -> Command {
    let path = find(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(path);
    command
}

/// Debian keeps them out of the way, by version.
fn find(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).to_owned())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Context of a component whose metadata is `items`.
pub fn context(component_type: &str, items: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: component_type.into(),
        version: "v1".into(),
        properties: Properties::new(items.iter().copied()).unwrap(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Waits until `done`, which is asked every few milliseconds.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < START_LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
