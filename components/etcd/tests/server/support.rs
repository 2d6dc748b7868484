//! An etcd server of our own.

use std::path::Path;
use std::process::Command;

use dapr_conformance::server::{ServerProcess, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub struct TestServer {
    process: ServerProcess,
    peer_port: u16,
    tls: Option<Identities>,
}

/// A root, and who it signed for, as PEM.
pub struct Identities {
    pub root: String,
    /// Certificate and key that carry `localhost`.
    pub own: (String, String),
}

impl Identities {
    pub fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        Self { root: authority.pem(), own: (certificate.pem(), key.serialize_pem()) }
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With identities it takes secured connections only, and asks for the
    /// client's certificate.
    pub async fn start_with(tls: Option<Identities>) -> Self {
        let mut server = Self { process: ServerProcess::new("etcd"), peer_port: free_port(), tls };
        server.restart().await;
        server
    }

    /// Starts the process again on the same ports and folder.
    pub async fn restart(&mut self) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let clients = format!("{scheme}://localhost:{}", self.process.port);
        let listen = format!("{scheme}://127.0.0.1:{}", self.process.port);
        let peers = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.process.file("data"))
            .args(["--listen-client-urls", &listen, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")]);
        if let Some(tls) = &self.tls {
            let file = |name: &str, pem: &str| {
                let path = self.process.file(name);
                std::fs::write(&path, pem).unwrap();
                path
            };
            command.arg("--trusted-ca-file").arg(file("root.pem", &tls.root));
            command.arg("--cert-file").arg(file("cert.pem", &tls.own.0));
            command.arg("--key-file").arg(file("key.pem", &tls.own.1)).arg("--client-cert-auth");
        }
        let check = self.etcdctl(&["endpoint", "health"]);
        let program = check.get_program().to_owned();
        let arguments: Vec<_> = check.get_args().map(ToOwned::to_owned).collect();
        let healthy = async || {
            let answer = Command::new(&program).env("ETCDCTL_API", "3").args(&arguments).output();
            answer.expect("etcdctl is installed").status.success()
        };
        self.process.run(command, healthy).await;
    }

    /// As a power failure: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// For the component's metadata.
    pub fn endpoint(&self) -> String {
        format!("localhost:{}", self.process.port)
    }

    pub fn tls(&self) -> &Identities {
        self.tls.as_ref().expect("a server with TLS")
    }

    /// What a command of etcd's own client prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl(arguments).output().expect("etcdctl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn etcdctl(&self, arguments: &[&str]) -> Command {
        let file = |name: &str| self.process.file(name);
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]);
        if self.tls.is_some() {
            let flags: [(&str, &Path); 3] =
                [("--cacert", &file("root.pem")), ("--cert", &file("cert.pem")), ("--key", &file("key.pem"))];
            for (flag, path) in flags {
                command.arg(flag).arg(path);
            }
        }
        command.args(arguments);
        command
    }
}
