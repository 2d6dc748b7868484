//! The commands that talk to a running sidecar or to none (cli.md §1, §3, §6, §7).

mod harness;

use harness::{Home, dapr, is_stand_in};
use nix::sys::signal::Signal;

fn texts(output: &std::process::Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_bad_flag_ends_with_usage_and_255() {
    let (code, stdout, stderr) = texts(&dapr().args(["run", "--flag"]).output().unwrap());
    assert_eq!(code, Some(255));
    assert_eq!(stdout, "unknown flag: --flag\n");
    assert!(stderr.starts_with("Error: unknown flag: --flag\nUsage:\n  dapr run [flags]\n"), "{stderr}");
    let (code, stdout, stderr) = texts(&dapr().arg("nothing-like-it").output().unwrap());
    assert_eq!(code, Some(255));
    assert_eq!(stdout, "unknown command \"nothing-like-it\" for \"dapr\"\n");
    assert_eq!(
        stderr,
        "Error: unknown command \"nothing-like-it\" for \"dapr\"\nRun 'dapr --help' for usage.\n"
    );
}

#[test]
fn commands_of_later_releases_say_so() {
    for (args, what) in [
        (&["workflow", "list", "--app-id", "x"][..], "dapr workflow"),
        (&["sched", "list"], "dapr scheduler"),
        (&["status", "-k"], "dapr status (Kubernetes)"),
        (&["list", "-k"], "dapr list --kubernetes"),
        (&["upgrade", "--help"], "dapr upgrade (Kubernetes)"),
    ] {
        let (code, stdout, stderr) = texts(&dapr().args(args).output().unwrap());
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert_eq!(stderr, format!("❌  {what} is not part of this release yet\n"));
    }
}

#[test]
fn init_checks_its_flags_first() {
    let home = Home::new();
    let start = "⌛  Making the jump to hyperspace...\n";
    let (code, stdout, stderr) = texts(&home.output(&["init", "--image-registry", "r", "--from-dir", "d"]));
    assert_eq!((code, stdout.as_str()), (Some(1), start));
    assert_eq!(stderr, "❌  both --image-registry and --from-dir flags cannot be given at the same time\n");

    let (code, stdout, _) = texts(&home.output(&["init", "--container-runtime", "x"]));
    let invalid = "❌  Invalid container runtime. Supported values are docker and podman.\n";
    assert_eq!((code, stdout), (Some(1), format!("{start}{invalid}")));

    let (code, _, stderr) = texts(&home.output(&["init", "--runtime-version", "1.0.0"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("runtime version 1.0.0 is not available"), "{stderr}");

    let (code, _, stderr) = texts(&home.output(&["init"]));
    let daprd = home.path().join(".dapr/bin/daprd");
    assert_eq!(code, Some(1));
    assert_eq!(
        stderr,
        format!(
            "❌  {} file already exists, please run `dapr uninstall` first before running `dapr init`\n",
            daprd.display()
        )
    );
    let (code, stdout, _) = texts(&home.output(&["uninstall", "--container-runtime", "x"]));
    assert_eq!((code, stdout.as_str()), (Some(1), invalid));
}

#[test]
fn uninstall_removes_what_is_there() {
    let home = Home::new();
    let bin = home.path().join(".dapr/bin");
    let (code, stdout, _) = texts(&home.output(&["uninstall"]));
    let removed = "✅  Dapr has been removed successfully\n";
    let start = "ℹ️  Removing Dapr from your machine...\n";
    assert_eq!(code, Some(0));
    assert_eq!(stdout, format!("{start}ℹ️  Removing directory: {}\n{removed}", bin.display()));
    let root = home.path().join(".dapr");
    let (_, stdout, _) = texts(&home.output(&["uninstall", "--all"]));
    assert_eq!(
        stdout,
        format!(
            "{start}⚠  WARNING: {} does not exist\nℹ️  Removing directory: {}\n{removed}",
            bin.display(),
            root.display()
        )
    );
    let (_, stdout, _) = texts(&home.output(&["uninstall", "--all"]));
    assert!(stdout.contains(&format!("⚠  WARNING: {} does not exist\n", root.display())), "{stdout}");
}

#[test]
fn a_runtime_path_beats_the_environment() {
    let home = Home::new();
    let other = home.path().join("other");
    std::fs::create_dir_all(other.join(".dapr/bin")).unwrap();
    let output = home
        .dapr(&["uninstall", "--all", "--runtime-path", other.to_str().unwrap()])
        .env("DAPR_RUNTIME_PATH", "/nowhere")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0, "only .dapr is removed");
    assert!(home.path().join(".dapr/bin/daprd").exists());
}

#[test]
fn versions_of_command_and_runtime() {
    let home = Home::new();
    let (_, stdout, _) = texts(&home.output(&["version"]));
    assert_eq!(stdout, "CLI version: edge \nRuntime version: 1.18.3\n");
    assert_eq!(texts(&home.output(&["-v"])).1, stdout);
    let (_, stdout, _) = texts(&home.output(&["version", "-o", "json"]));
    assert_eq!(stdout, "{\"Cli version\":\"edge\",\"Runtime version\":\"1.18.3\"}\n");
    let (code, stdout, _) = texts(&home.output(&["version", "-o", "x"]));
    assert_eq!((code, stdout.as_str()), (Some(1), "❌  An invalid output format was specified.\n"));
    let (_, stdout, _) = texts(&home.output(&["build-info"]));
    assert!(
        stdout.starts_with("CLI:\n\tVersion: edge\n\tGit Commit: \n\tGit Version: \nRuntime:\n\t"),
        "{stdout}"
    );
}

#[test]
fn list_and_stop_without_a_match() {
    let home = Home::new();
    let (code, stdout, _) = texts(&home.output(&["list", "-o", "invalid"]));
    assert_eq!((code, stdout.as_str()), (Some(1), "❌  An invalid output format was specified.\n"));
    let (code, _, stderr) = texts(&home.output(&["stop", "never-started"]));
    assert_eq!(code, Some(0));
    assert_eq!(stderr, "❌  failed to stop app id never-started: couldn't find app id never-started\n");
}

#[test]
fn invoke_and_publish_reach_the_application() {
    if !is_stand_in() {
        return;
    }
    let home = Home::new();
    let run = home.start(&["run", "--app-id", "reached", "--", "sleep", "1000"]);
    run.expect("You're up and running!");
    let invoke = |more: &[&str]| texts(&home.output(&[&["invoke", "-a", "reached", "-m"], more].concat()));
    let (code, stdout, _) = invoke(&["echo?x=1", "-d", "{\"a\": 1}"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "got {\"a\": 1}\n✅  App invoked successfully\n"));
    run.expect("stand-in request: POST /v1.0/invoke/reached/method/echo?x=1 application/json {\"a\": 1}\n");
    invoke(&["echo", "-v", "GET"]);
    run.expect("stand-in request: GET /v1.0/invoke/reached/method/echo application/json \n");
    let (code, _, stderr) = invoke(&["missing"]);
    assert_eq!((code, stderr.as_str()), (Some(1), "❌  error invoking app reached: 404 Not Found\n"));
    let (code, _, stderr) = texts(&home.output(&["invoke", "-a", "nobody", "-m", "x"]));
    assert_eq!(
        (code, stderr.as_str()),
        (Some(1), "❌  error invoking app nobody: app ID nobody not found\n")
    );

    let publish = |more: &[&str]| {
        texts(&home.output(&[&["publish", "-i", "reached", "-p", "bus", "-t"], more].concat()))
    };
    let (code, stdout, _) = publish(&["orders", "-d", "{}", "-m", "{\"rawPayload\":\"true\"}"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "✅  Event published successfully\n"));
    run.expect(
        "stand-in request: POST /v1.0/publish/bus/orders?metadata.rawPayload=true application/json {}\n",
    );
    let event = home.path().join("event.json");
    std::fs::write(&event, r#"{"id":"1","source":"s","specversion":"1.0","type":"t","data":1}"#).unwrap();
    publish(&["orders", "-f", event.to_str().unwrap()]);
    run.expect("POST /v1.0/publish/bus/orders application/cloudevents+json {\"id\"");
    let (code, stdout, stderr) = publish(&["missing"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("http://127.0.0.1:") && stdout.ends_with("/v1.0/publish/bus/missing\n"),
        "{stdout}"
    );
    assert_eq!(
        stderr,
        "❌  Error publishing topic missing: unexpected status code 404 on publishing to missing in bus\n"
    );
    run.signal(Signal::SIGINT);
    run.end();
}

#[test]
fn payloads_are_checked_before_anything_is_sent() {
    let home = Home::new();
    let required = ["publish", "-i", "x", "-p", "y", "-t", "z"];
    let (code, _, stderr) = texts(&home.output(&[&required[..], &["-d", "1", "-f", "2"]].concat()));
    assert_eq!(
        (code, stderr.as_str()),
        (Some(1), "❌  Only one of --data and --data-file allowed in the same publish command\n")
    );
    let (_, _, stderr) = texts(&home.output(&["invoke", "-a", "x", "-m", "y", "-f", "/no/file"]));
    assert_eq!(
        stderr,
        "❌  Error reading payload from '/no/file'. Error: open /no/file: no such file or directory\n"
    );
    let (_, _, stderr) = texts(&home.output(&[&required[..], &["-m", "{"]].concat()));
    assert!(stderr.starts_with("❌  Error parsing metadata as JSON. Error: "), "{stderr}");
    let (_, _, stderr) = texts(&home.output(&required));
    assert_eq!(stderr, "❌  Error publishing topic z: couldn't find a running Dapr instance\n");
}
