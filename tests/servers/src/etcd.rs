use std::path::Path;
use std::process::Command;

use crate::free_port;
use crate::process::ServerProcess;

/// An etcd server, a cluster of one.
pub struct Etcd {
    process: ServerProcess,
    peer_port: u16,
    secure: bool,
}

/// Files of PEM text for a server with TLS, and for etcd's own client.
pub struct Identity<'a> {
    pub root: &'a str,
    /// Signed by the root, for `localhost`.
    pub certificate: &'a str,
    pub key: &'a str,
}

impl Etcd {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With an identity it takes secured connections only, and asks for the
    /// client's certificate.
    pub async fn start_with(identity: Option<&Identity<'_>>) -> Self {
        let process = ServerProcess::new("etcd", free_port());
        if let Some(identity) = identity {
            for (name, pem) in
                [("root.pem", identity.root), ("cert.pem", identity.certificate), ("key.pem", identity.key)]
            {
                std::fs::write(process.file(name), pem).expect("own folder");
            }
        }
        let mut server = Self { process, peer_port: free_port(), secure: identity.is_some() };
        server.restart().await;
        server
    }

    /// Starts the process again on the same ports and folder.
    pub async fn restart(&mut self) {
        let scheme = if self.secure { "https" } else { "http" };
        let clients = format!("{scheme}://localhost:{}", self.process.port);
        let listen = format!("{scheme}://127.0.0.1:{}", self.process.port);
        let peers = format!("http://127.0.0.1:{}", self.peer_port);
        let file = |name: &str| self.process.file(name);
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(file("data"));
        command.args(["--listen-client-urls", &listen, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        if self.secure {
            command.arg("--trusted-ca-file").arg(file("root.pem")).arg("--client-cert-auth");
            command.arg("--cert-file").arg(file("cert.pem")).arg("--key-file").arg(file("key.pem"));
        }
        let (endpoint, secure) = (self.endpoint(), self.secure);
        let healthy = async |process: &ServerProcess| {
            let mut check = etcdctl(process, &endpoint, secure);
            check.args(["endpoint", "health"]).output().expect("etcdctl is installed").status.success()
        };
        self.process.run(command, healthy).await;
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// `localhost:<port>`, which component metadata takes.
    pub fn endpoint(&self) -> String {
        format!("localhost:{}", self.process.port)
    }

    /// What a command of etcd's own client prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = etcdctl(&self.process, &self.endpoint(), self.secure);
        let output = command.args(arguments).output().expect("etcdctl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn etcdctl(process: &ServerProcess, endpoint: &str, secure: bool) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]);
    if secure {
        let file = |name: &str| process.file(name);
        let flags: [(&str, &Path); 3] =
            [("--cacert", &file("root.pem")), ("--cert", &file("cert.pem")), ("--key", &file("key.pem"))];
        for (flag, path) in flags {
            command.arg(flag).arg(path);
        }
    }
    command
}
