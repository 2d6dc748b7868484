use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tokio::net::TcpStream;

use crate::free_port;
use crate::process::ServerProcess;

/// Whom Debian's package runs the server as: it refuses to run as root.
const USER: &str = "postgres";
const READY: &str = "database system is ready to accept connections";

/// A PostgreSQL server with the user `tester`, who needs no password.
pub struct Postgresql {
    process: ServerProcess,
}

impl Postgresql {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        let process = ServerProcess::new("postgresql", free_port());
        let folder = process.folder();
        if geteuid().is_root() {
            let user = User::from_name(USER).expect("users").expect("user postgres of Debian's package");
            chown(folder, Some(user.uid), Some(user.gid)).expect("own folder");
        }
        let made = program("initdb")
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

    /// Starts the process again on the same port and folder.
    pub async fn restart(&mut self) {
        let folder = self.process.folder();
        let port = self.process.port;
        let mut command = program("postgres");
        command.arg("-D").arg(folder.join("data"));
        command.args(["-h", "127.0.0.1", "-F", "-p", &port.to_string(), "-k"]);
        command.arg(folder).current_dir(folder);
        let ready = async |process: &ServerProcess| {
            process.log().contains(READY) && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        };
        self.process.run(command, ready).await;
    }

    /// Ends all connections at once and stops.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The server's own process: the one started may be the change of user.
        let recorded = std::fs::read_to_string(self.process.file("data/postmaster.pid"));
        let pid = recorded.ok().and_then(|text| text.lines().next()?.parse().ok());
        match pid {
            Some(pid) => drop(kill(Pid::from_raw(pid), Signal::SIGQUIT)),
            None => drop(process.kill()),
        }
        let _ = process.wait();
    }

    /// What component metadata takes.
    pub fn connection_string(&self) -> String {
        format!("host=127.0.0.1 port={} user=tester dbname=postgres", self.process.port)
    }

    /// Runs one statement beside the component under test.
    pub fn run(&self, statement: &str) {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--dbname", &self.connection_string()]);
        let done = command.args(["--command", statement]).output().expect("psql is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of the server's, run as a user that may.
fn program(name: &str) -> Command {
    let path = find(name);
    if !geteuid().is_root() {
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
