//! A PostgreSQL server of our own.

use std::path::{Path, PathBuf};
use std::process::Command;

use dapr_conformance::server::ServerProcess;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use tokio_postgres::{Client, NoTls};

/// Whom Debian's package runs the server as: it refuses to run as root.
const USER: &str = "postgres";

pub struct TestServer {
    process: ServerProcess,
}

impl TestServer {
    pub async fn start() -> Self {
        let process = ServerProcess::new("postgresql");
        let folder = process.folder();
        if is_root() {
            let user =
                nix::unistd::User::from_name(USER).unwrap().expect("user postgres of Debian's package");
            nix::unistd::chown(folder, Some(user.uid), Some(user.gid)).unwrap();
        }
        let made = server_program("initdb")
            .args(["--auth", "trust", "--username", "tester", "--no-sync", "--encoding", "UTF8", "--pgdata"])
            .arg(process.file("data"))
            .current_dir(folder)
            .output()
            .expect("initdb is installed");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { process };
        server.restart().await;
        server
    }

    pub async fn restart(&mut self) {
        let folder = self.process.folder();
        let mut command = server_program("postgres");
        command
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-h", "127.0.0.1", "-F", "-p", &self.process.port.to_string(), "-k"])
            .arg(folder)
            .current_dir(folder);
        let address = self.connection_string();
        self.process.run(command, async || tokio_postgres::connect(&address, NoTls).await.is_ok()).await;
    }

    /// Ends all connections at once and stops.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The server's own process: the one started may be the change of user.
        let recorded = std::fs::read_to_string(self.process.file("data/postmaster.pid"));
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
        format!("host=127.0.0.1 port={} user=tester dbname=postgres", self.process.port)
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
