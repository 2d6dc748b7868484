//! Resolvers that find each other by real multicast on the loopback interface,
//! and without it.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dapr_components::nameresolution::{Instance, NameResolver, ResolveRequest, ResolverContext};
use dapr_components::registry::Registry;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_mdns::{InterfaceScope, MdnsResolver, Options};

fn instance(app_id: &str, port: u16) -> Instance {
    Instance {
        identity: AppIdentity::new(app_id, None),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        http_port: 3500,
        internal_grpc_port: port,
        app_port: 0,
    }
}

fn tasks() -> TaskGroup {
    TaskGroup::new(Shutdown::new())
}

fn multicast_only() -> Options {
    Options { interfaces: InterfaceScope::Loopback, registry_dir: Some(PathBuf::new()) }
}

fn start(app_id: &str, port: u16, options: Options, tasks: &TaskGroup) -> MdnsResolver {
    MdnsResolver::start(instance(app_id, port), options, tasks).unwrap()
}

async fn resolve(resolver: &MdnsResolver, app_id: &str) -> Result<Vec<String>, String> {
    let request = ResolveRequest { app_id, namespace: "default", port: 50002 };
    resolver.resolve(&request).await.map_err(|e| e.to_string())
}

/// Other tests, and other processes, share the network: names are unique.
fn unique(app_id: &str) -> String {
    format!("{app_id}-{}", std::process::id())
}

#[tokio::test]
async fn two_resolvers_find_each_other() {
    let tasks = tasks();
    let (one, two) = (unique("one"), unique("two"));
    let a = start(&one, 6001, multicast_only(), &tasks);
    let b = start(&two, 6002, multicast_only(), &tasks);
    assert_eq!(resolve(&a, &two).await.unwrap(), ["127.0.0.1:6002"]);
    assert_eq!(resolve(&b, &one).await.unwrap(), ["127.0.0.1:6001"]);
    assert_eq!(resolve(&a, &one).await.unwrap(), ["127.0.0.1:6001"], "and itself");
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn replicas_take_turns_until_they_leave() {
    let tasks = tasks();
    let app = unique("replicated");
    let caller = start(&unique("caller"), 6010, multicast_only(), &tasks);
    let first = start(&app, 6011, multicast_only(), &tasks);
    let second = start(&app, 6012, multicast_only(), &tasks);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        assert!(Instant::now() < deadline, "only {seen:?}");
        seen.extend(resolve(&caller, &app).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.close().await;
    loop {
        assert!(Instant::now() < deadline, "the goodbye was not heard");
        let taken = [resolve(&caller, &app).await.unwrap(), resolve(&caller, &app).await.unwrap()].concat();
        if taken == ["127.0.0.1:6012", "127.0.0.1:6012"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    second.close().await;
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_unknown_application_is_an_error_after_a_second() {
    let tasks = tasks();
    let a = start(&unique("asker"), 6020, multicast_only(), &tasks);
    let app = unique("nobody");
    let asked = Instant::now();
    let (one, two) = tokio::join!(resolve(&a, &app), resolve(&a, &app));
    assert_eq!(one.unwrap_err(), format!("couldn't find service: {app}"));
    assert_eq!(two.unwrap_err(), format!("couldn't find service: {app}"));
    assert!(asked.elapsed() >= Duration::from_millis(900));
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_local_registry_helps_where_multicast_is_blocked() {
    let tasks = tasks();
    let folder = tempfile::tempdir().unwrap();
    let options =
        || Options { interfaces: InterfaceScope::None, registry_dir: Some(folder.path().to_owned()) };
    let (one, two) = (unique("reg-one"), unique("reg-two"));
    let a = start(&one, 6031, options(), &tasks);
    let b = start(&two, 6032, options(), &tasks);
    assert_eq!(resolve(&a, &two).await.unwrap(), ["127.0.0.1:6032"]);
    assert_eq!(resolve(&b, &one).await.unwrap(), ["127.0.0.1:6031"]);
    b.close().await;
    let c = start(&unique("reg-three"), 6033, options(), &tasks);
    assert!(resolve(&c, &two).await.is_err(), "closed");
    tasks.stop(Duration::from_secs(5)).await;
}

/// As where a firewall swallows multicast: questions leave, nothing comes back.
#[tokio::test]
async fn the_local_registry_answers_where_the_network_is_silent() {
    let tasks = tasks();
    let folder = tempfile::tempdir().unwrap();
    let options = |interfaces| Options { interfaces, registry_dir: Some(folder.path().to_owned()) };
    let asker = start(&unique("silent-asker"), 6035, options(InterfaceScope::Loopback), &tasks);
    let mute = unique("silent-mute");
    let _mute = start(&mute, 6036, options(InterfaceScope::None), &tasks);
    assert_eq!(resolve(&asker, &mute).await.unwrap(), ["127.0.0.1:6036"]);
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_closed_resolver_answers_at_once() {
    let tasks = tasks();
    let a = start(&unique("closed"), 6040, multicast_only(), &tasks);
    a.close().await;
    a.close().await;
    let error = resolve(&a, "whatever").await.unwrap_err();
    assert!(error.contains("closed"), "{error}");
    assert!(tasks.is_empty());
}

#[tokio::test]
async fn what_an_instance_needs_is_checked() {
    let tasks = tasks();
    let mut registry = Registry::default();
    dapr_mdns::register(&mut registry);
    let construct = registry.name_resolvers.find("mdns", "").expect("registered");
    let context = |app_id, port, configuration| ResolverContext {
        configuration,
        instance: instance(app_id, port),
        tasks: tasks.clone(),
    };
    for (context, expected) in [
        (context("", 1, serde_json::Value::Null), "name is missing"),
        (context("app", 0, serde_json::Value::Null), "port is missing or invalid"),
        (context("app", 1, serde_json::json!({"registryDir": 7})), "'registryDir' must be a string"),
    ] {
        let error = construct(context).await.err().expect(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Runs only as the other process of the test below.
#[tokio::test]
#[ignore = "not a test: the other process of the test below, which starts it"]
async fn helper_process() {
    let tasks = tasks();
    let app = std::env::var("MDNS_TEST_APP").unwrap();
    let resolver = start(&app, 6052, multicast_only(), &tasks);
    println!("started");
    std::io::stdout().flush().unwrap();
    let found = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        line
    });
    let target = found.await.unwrap();
    println!("found {:?}", resolve(&resolver, target.trim()).await);
    resolver.close().await;
}

#[tokio::test]
async fn two_processes_find_each_other() {
    let tasks = tasks();
    let (here, there) = (unique("parent"), unique("child"));
    let resolver = start(&here, 6051, multicast_only(), &tasks);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "helper_process", "--nocapture"])
        .env("MDNS_TEST_APP", &there)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("started")));
    assert_eq!(resolve(&resolver, &there).await.unwrap(), ["127.0.0.1:6052"]);

    writeln!(child.stdin.take().unwrap(), "{here}").unwrap();
    // To the end, or the helper would write into a closed pipe.
    let rest = tokio::task::spawn_blocking(move || lines.map_while(Result::ok).collect::<String>());
    let reply = rest.await.unwrap();
    assert!(reply.contains(r#"Ok(["127.0.0.1:6051"])"#), "{reply}");
    assert!(child.wait().unwrap().success());
    tasks.stop(Duration::from_secs(5)).await;
}
