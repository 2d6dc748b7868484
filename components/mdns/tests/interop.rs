//! Both ways with a Go sidecar. Needs its binary and a network in which
//! multicast reaches it; a namespace of its own with multicast on loopback does:
//!
//! ```sh
//! export DAPRD_REFERENCE=/path/to/daprd
//! unshare -n sh -c 'ip link set lo up multicast on; cargo test -p dapr-mdns --test interop -- --ignored'
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dapr_components::nameresolution::{Instance, NameResolver, ResolveRequest};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_mdns::{InterfaceScope, MdnsResolver, Options};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Sidecar {
    child: Child,
    http: SocketAddr,
    internal: u16,
    _resources: tempfile::TempDir,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sidecar(app_id: &str) -> Sidecar {
    let binary = std::env::var("DAPRD_REFERENCE").expect("DAPRD_REFERENCE names a Go daprd");
    let resources = tempfile::tempdir().unwrap();
    let (http, internal) = (free_port(), free_port());
    let child = Command::new(binary)
        .args(["--app-id", app_id, "--dapr-listen-addresses", "127.0.0.1"])
        .args(["--dapr-http-port", &http.to_string(), "--dapr-grpc-port", &free_port().to_string()])
        .args(["--dapr-internal-grpc-port", &internal.to_string()])
        .args(["--metrics-port", &free_port().to_string()])
        .arg("--resources-path")
        .arg(resources.path())
        .env("DAPR_HOST_IP", "127.0.0.1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let http = SocketAddr::from(([127, 0, 0, 1], http));
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(http).is_err() {
        assert!(Instant::now() < deadline, "the Go sidecar does not start");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Sidecar { child, http, internal, _resources: resources }
}

fn resolver(app_id: &str, port: u16, tasks: &TaskGroup) -> MdnsResolver {
    let instance = Instance {
        identity: AppIdentity::new(app_id, None),
        address: Ipv4Addr::LOCALHOST.into(),
        http_port: 3500,
        internal_grpc_port: port,
        app_port: 0,
    };
    let options = Options { interfaces: InterfaceScope::All, registry_dir: Some("".into()) };
    MdnsResolver::start(instance, options, tasks).unwrap()
}

async fn resolve(resolver: &MdnsResolver, app_id: &str) -> Result<Vec<String>, String> {
    let request = ResolveRequest { app_id, namespace: "default", port: 50002 };
    resolver.resolve(&request).await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dapr's own sidecar, which is not part of this project: run by hand"]
async fn a_go_sidecar_is_found_and_its_goodbye_heard() {
    let tasks = TaskGroup::new(Shutdown::new());
    let mut go = sidecar("interop-go");
    let ours = resolver("interop-rust", 6100, &tasks);
    let asked = Instant::now();
    assert_eq!(resolve(&ours, "interop-go").await.unwrap(), [format!("127.0.0.1:{}", go.internal)]);
    println!("found after {:?}", asked.elapsed());

    let pid = nix::unistd::Pid::from_raw(go.child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    go.child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while resolve(&ours, "interop-go").await.is_ok() {
        assert!(Instant::now() < deadline, "the goodbye was not heard");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dapr's own sidecar, which is not part of this project: run by hand"]
async fn a_go_sidecar_finds_ours() {
    let tasks = TaskGroup::new(Shutdown::new());
    let go = sidecar("interop-go-caller");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _ours = resolver("interop-target", listener.local_addr().unwrap().port(), &tasks);

    let mut call = TcpStream::connect(go.http).unwrap();
    write!(call, "GET /v1.0/invoke/interop-target/method/x HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let asked = Instant::now();
    let preface = tokio::task::spawn_blocking(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut preface = [0; 14];
        peer.read_exact(&mut preface).unwrap();
        preface
    });
    let preface = tokio::time::timeout(Duration::from_secs(10), preface).await.expect("connected").unwrap();
    println!("called after {:?}", asked.elapsed());
    assert_eq!(&preface, b"PRI * HTTP/2.0");
    tasks.stop(Duration::from_secs(5)).await;
}
