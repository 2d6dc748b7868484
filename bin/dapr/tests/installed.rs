//! The executable with its own sidecar: `init`, `run` with and without it, and
//! the example (cli.md §2, §3.2, §12.1).

mod harness;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::{dapr, eventually, is_running};

fn in_home(home: &Path, args: &[&str]) -> Output {
    command(home, args).output().unwrap()
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = dapr();
    command.args(args).env("HOME", home).env_remove("DAPR_RUNTIME_PATH").current_dir(home);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn init_lays_out_everything_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join(".dapr");
    let output = in_home(home.path(), &["init"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        stdout(&output),
        format!(
            "⌛  Making the jump to hyperspace...\nℹ️  Installing runtime version 1.18.3\nℹ️  daprd binary has been \
             installed to {root}/bin.\nℹ️  State, pub/sub and name resolution use SQLite files in {root}/data; no \
             container is running for them.\n✅  Success! Dapr is up and running. To get started, go here: \
             https://docs.dapr.io/getting-started\n",
            root = root.display()
        )
    );
    for file in ["bin/daprd", "components/pubsub.yaml", "components/statestore.yaml", "config.yaml", "data"] {
        assert!(root.join(file).exists(), "{file}");
    }
    let version = Command::new(root.join("bin/daprd")).arg("--version").output().unwrap();
    assert_eq!(stdout(&version), "1.18.3\n");

    let again = in_home(home.path(), &["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&again.stderr)
            .contains("bin/daprd file already exists, please run `dapr uninstall` first")
    );
    std::fs::write(root.join("config.yaml"), "mine").unwrap();
    assert!(in_home(home.path(), &["uninstall"]).status.success());
    assert!(in_home(home.path(), &["init", "--slim"]).status.success());
    assert_eq!(std::fs::read_to_string(root.join("config.yaml")).unwrap(), "mine");
}

/// An application that stores a value and reads it back through its sidecar.
const ROUND_TRIP: &str = r#"
import json, os, urllib.request
url = "http://127.0.0.1:%s/v1.0/state/statestore" % os.environ["DAPR_HTTP_PORT"]
body = json.dumps([{"key": "a", "value": "kept"}]).encode()
urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST"))
print("read back", urllib.request.urlopen(url + "/a").read().decode())
"#;

#[test]
fn an_installed_sidecar_serves_state() {
    let home = tempfile::tempdir().unwrap();
    assert!(in_home(home.path(), &["init"]).status.success());
    let output = in_home(home.path(), &["run", "--app-id", "kept", "--", "python3", "-c", ROUND_TRIP]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("read back \"kept\"\n"), "{}", stdout(&output));
}

#[test]
fn nothing_needs_to_be_installed() {
    let home = tempfile::tempdir().unwrap();
    let output = in_home(home.path(), &["run", "--app-id", "barefoot", "--", "echo", "ran"]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("ran\n"), "{}", stdout(&output));
    let version = in_home(home.path(), &["version"]);
    assert_eq!(stdout(&version), "CLI version: edge \nRuntime version: 1.18.3\n");
    assert!(!home.path().join(".dapr/bin").exists(), "init must still be possible");
}

/// The name of the process is how every tool finds a sidecar.
#[test]
fn the_sidecar_process_is_called_daprd() {
    let home = tempfile::tempdir().unwrap();
    let mut run = command(home.path(), &["run", "--app-id", "by-name", "--", "sleep", "1000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let listed = || {
        let output = in_home(home.path(), &["list", "-o", "json"]);
        let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        list.into_iter().find(|one| one["appId"] == "by-name" && one["appPid"] != 0)
    };
    eventually(|| listed().is_some(), || "not listed".to_owned());
    let daprd = i32::try_from(listed().unwrap()["daprdPid"].as_i64().unwrap()).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{daprd}/comm")).unwrap(), "daprd\n");
    in_home(home.path(), &["stop", "by-name"]);
    assert!(run.wait().unwrap().success());
    assert!(!is_running(daprd));
}

/// Started as `dapr daprd`, it can be found all the same.
#[test]
fn the_first_argument_names_the_program() {
    let home = tempfile::tempdir().unwrap();
    let args = [
        "daprd",
        "--app-id",
        "by-argument",
        "--dapr-http-port",
        "0",
        "--dapr-grpc-port",
        "0",
        "--metrics-port",
        "0",
    ];
    let mut daprd = command(home.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let name = format!("/proc/{}/comm", daprd.id());
    eventually(
        || std::fs::read_to_string(&name).is_ok_and(|name| name == "daprd\n"),
        || "not renamed".to_owned(),
    );
    daprd.kill().unwrap();
    daprd.wait().unwrap();
}

/// `examples/orders`, copied so that its data stays out of the source.
#[test]
fn the_orders_example_places_and_ships() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("skipped: the example needs node");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders");
    let copied = Command::new("cp").arg("-r").arg(&source).arg(home.path()).status().unwrap();
    assert!(copied.success());
    let folder = home.path().join("orders");
    for file in std::fs::read_dir(folder.join("data")).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    let output = home.path().join("output");
    let file = std::fs::File::create(&output).unwrap();
    let mut run = command(home.path(), &["run", "-f", folder.to_str().unwrap()])
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let text = || std::fs::read_to_string(&output).unwrap();
    for line in [
        "== APP - stock == reserved one of ",
        "== APP - orders == order 1: ",
        "== APP - shipping == order 1: ",
    ] {
        eventually(|| text().contains(line), text);
    }
    let stop = in_home(home.path(), &["stop", "-f", folder.to_str().unwrap()]);
    assert!(stdout(&stop).contains("Dapr and app processes stopped successfully"), "{stop:?}");
    assert!(run.wait().unwrap().success(), "{}", text());
}
