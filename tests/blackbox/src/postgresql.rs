use std::path::{Path, PathBuf};

use nix::unistd::{User, chown, geteuid};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::{Process, START_TIMEOUT, Scratch, eventually, free_port};

/// Whom Debian's package runs the server as: it refuses to run as root.
const USER: &str = "postgres";

/// A PostgreSQL server of its own, empty, for as long as the value lives.
pub struct Postgresql {
    pub port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Postgresql {
    /// Starts one and waits until it answers.
    pub async fn start(scratch: &Scratch) -> Self {
        // Not in the scratch folder, which the server's user may not enter.
        let folder = tempfile::Builder::new().prefix("postgresql").tempdir().expect("a folder");
        if geteuid().is_root() {
            let user = User::from_name(USER).expect("users").expect("user postgres of Debian's package");
            chown(folder.path(), Some(user.uid), Some(user.gid)).expect("own folder");
        }
        let data = folder.path().join("data");
        let mut make = program("initdb");
        make.args(["--auth", "trust", "--username", "tester", "--no-sync", "--encoding", "UTF8"]);
        let made = make.arg("--pgdata").arg(&data).current_dir(folder.path()).output().await;
        let made = made.expect("initdb is installed");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut command = program("postgres");
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-F", "-p", &port.to_string(), "-k"]);
        command.arg(folder.path()).current_dir(folder.path());
        let log = scratch.path().join(format!("postgresql-{port}.log"));
        let process = Process::start("postgres", command, &log);
        let socket = folder.path().join(format!(".s.PGSQL.{port}"));
        let ready = "database system is ready to accept connections";
        eventually("PostgreSQL answers", START_TIMEOUT, || async {
            UnixStream::connect(&socket).await.map_err(|e| e.to_string())?;
            if process.output().contains(ready) { Ok(()) } else { Err(process.tail()) }
        })
        .await;
        Self { port, _process: process, _folder: folder }
    }

    /// Runs one statement beside the component under test.
    pub async fn run(&self, statement: &str) {
        let mut command = Command::new("psql");
        command.args([
            "--no-psqlrc",
            "--quiet",
            "--dbname",
            &self.connection_string(),
            "--command",
            statement,
        ]);
        let done = command.output().await.expect("psql is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// What component metadata takes.
    pub fn connection_string(&self) -> String {
        format!("host=127.0.0.1 port={} user=tester dbname=postgres sslmode=disable", self.port)
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
