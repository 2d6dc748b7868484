//! `dapr run` for one application: real processes (cli.md §4).

mod harness;

use harness::{Home, eventually, is_running, is_stand_in, processes_with, write_script};
use nix::sys::signal::Signal;

/// What `dapr list -o json` says about `app_id`.
fn listed(home: &Home, app_id: &str) -> Option<serde_json::Value> {
    let output = home.output(&["list", "-o", "json"]);
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    list.into_iter().find(|one| one["appId"] == app_id)
}

fn pid(value: &serde_json::Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

#[track_caller]
fn in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        match rest.find(line) {
            Some(at) => rest = &rest[at + line.len()..],
            None => panic!("{line:?} is missing or out of order in\n{text}"),
        }
    }
}

#[test]
fn an_application_runs_is_listed_and_stopped() {
    let home = Home::new();
    let script = "echo id=$APP_ID http=$DAPR_HTTP_PORT; exec sleep 1000";
    let run = home.start(&["run", "--app-id", "cycle", "--", "sh", "-c", script]);
    run.expect("You're up and running! Both Dapr and your app logs will appear here.\n");
    let listed = listed(&home, "cycle").expect("listed");
    let text = run.text();
    in_order(
        &text,
        &[
            &format!(
                "ℹ️  Starting Dapr with id cycle. HTTP Port: {}. gRPC Port: {}\n",
                listed["httpPort"], listed["grpcPort"]
            ),
            &format!("ℹ️  Checking if Dapr sidecar is listening on HTTP port {}\n", listed["httpPort"]),
            &format!("ℹ️  Checking if Dapr sidecar is listening on GRPC port {}\n", listed["grpcPort"]),
            "ℹ️  Dapr sidecar is up and running.\n",
            &format!("ℹ️  Updating metadata for appPID: {}\n", listed["appPid"]),
            &format!("ℹ️  Updating metadata for app command: sh -c {script}\n"),
            "✅  You're up and running!",
        ],
    );
    run.expect(&format!("id=cycle http={}\n", listed["httpPort"]));
    assert!(!text.contains("cliPID"), "the first attribute is set in silence: {text}");
    assert_eq!(pid(&listed["cliPid"]), run.pid());
    assert_eq!(listed["command"], "sh -c echo id=$AP...");
    assert_eq!(listed["runTemplatePath"], "");

    let stop = home.output(&["stop", "--app-id", "cycle"]);
    assert_eq!(String::from_utf8_lossy(&stop.stdout), "✅  app stopped successfully: cycle\n");
    let (code, text) = run.end();
    in_order(
        &text,
        &[
            "ℹ️  \nterminated signal received: shutting down\n",
            "✅  Exited Dapr successfully\n",
            "✅  Exited App successfully\n",
        ],
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(!is_running(pid(&listed["daprdPid"])) && !is_running(pid(&listed["appPid"])));
}

#[test]
fn the_sidecar_gets_flags_of_every_kind() {
    if !is_stand_in() {
        return;
    }
    let home = Home::new();
    let run = home.start(&[
        "run",
        "-a",
        "flags",
        "--log-level=debug",
        "--enable-api-logging",
        "-p",
        "8123",
        "--scheduler-host-address",
        "",
    ]);
    run.expect("stand-in args:");
    let line = run.text().lines().find(|line| line.starts_with("stand-in args:")).unwrap().to_owned();
    let components = home.path().join(".dapr/components");
    in_order(
        &line,
        &[
            "stand-in args: --app-protocol http --log-level debug --app-max-concurrency -1 --placement-host-address localhost:50005",
            &format!(
                "--components-path {} --max-body-size 4Mi --read-buffer-size 4Ki --enable-api-logging --app-id flags",
                components.display()
            ),
            "--app-port 8123 --dapr-http-port ",
            "--profile-port -1 --metrics-port ",
        ],
    );
    assert!(!line.contains("--config") && !line.contains("scheduler"), "{line}");
    run.expect("You're up and running! Dapr logs will appear here.");
    assert!(run.text().starts_with("WARNING: no application command found.\n"));
    run.signal(Signal::SIGINT);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn an_application_that_fails_decides_the_exit_code() {
    let home = Home::new();
    let run = home.start(&["run", "--app-id", "failing", "--", "sh", "-c", "exit 3"]);
    let (code, text) = run.end();
    in_order(
        &text,
        &[
            "❌  The App process exited with error code: 3\n",
            "✅  Exited Dapr successfully\n",
            "❌  Error exiting App: app exited with status 3\n",
        ],
    );
    assert_eq!(code, Some(1));

    let run = home.start(&["run", "--app-id", "killed", "--", "sh", "-c", "kill -9 $$"]);
    let (code, text) = run.end();
    in_order(&text, &["❌  The App process was terminated by signal: killed\n"]);
    assert_eq!(code, Some(1));
}

#[test]
fn an_application_that_succeeds_ends_the_run_with_success() {
    let home = Home::new();
    let (code, text) = home.start(&["run", "--app-id", "brief", "--", "true"]).end();
    assert!(text.contains("✅  Exited App successfully\n"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn the_shutdown_api_ends_both_with_success() {
    let home = Home::new();
    let run = home.start(&["run", "--app-id", "shutdown", "--", "sleep", "1000"]);
    run.expect("You're up and running!");
    let port = listed(&home, "shutdown").unwrap()["httpPort"].clone();
    let request = "POST /v1.0/shutdown HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let (code, text) = run.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("✅  Exited App successfully\n"), "{text}");
}

#[test]
fn a_command_that_does_not_exist_ends_the_sidecar() {
    let home = Home::new();
    let (code, text) = home.start(&["run", "--app-id", "nocommand", "--", "no-such-program-here"]).end();
    in_order(
        &text,
        &[
            "❌  Failed to find command no-such-program-here: exec: \"no-such-program-here\": executable file not found in $PATH\n",
            "✅  Start App failed, try to stop Dapr successfully\n",
        ],
    );
    assert_eq!(code, Some(1));
    assert_eq!(processes_with("nocommand").len(), 0);
}

#[test]
fn a_named_folder_must_exist() {
    let home = Home::new();
    let output = home.output(&["run", "--app-id", "x", "--resources-path", "/no/such/folder", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "❌  error validating resources path [\"/no/such/folder\"] : stat /no/such/folder: no such file or directory\n"
    );
}

/// The command cannot clean up after `kill -9`; its guard does, and reaches
/// what the application started as well.
#[test]
fn nothing_survives_a_killed_command() {
    let home = Home::new();
    let marker = "31536001";
    let script = format!("sleep {marker} & exec sleep {marker}");
    let run = home.start(&["run", "--app-id", "orphaned", "--", "sh", "-c", &script]);
    run.expect("You're up and running!");
    assert!(processes_with(marker).len() >= 2);
    let daprd = pid(&listed(&home, "orphaned").unwrap()["daprdPid"]);
    run.signal(Signal::SIGKILL);
    eventually(
        || !is_running(daprd) && processes_with(marker).is_empty(),
        || "processes survived".to_owned(),
    );
}

/// Ctrl-C while the sidecar's ports are awaited takes effect at once.
#[test]
fn a_signal_ends_the_wait_for_the_sidecar() {
    let home = Home::new();
    let daprd = home.path().join(".dapr/bin/daprd");
    write_script(&daprd, "#!/bin/sh\n[ \"$1\" = --version ] && echo 1.18.3 || exec sleep 1000\n");
    let run = home.start(&["run", "--app-id", "silent", "--", "true"]);
    run.expect("Checking if Dapr sidecar is listening on HTTP port");
    run.signal(Signal::SIGINT);
    let (code, text) = run.end();
    assert!(text.contains("Exited Dapr successfully"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn sockets_replace_ports() {
    let home = Home::new();
    let folder = home.path().to_str().unwrap();
    let run = home.start(&["run", "--app-id", "sockets", "-u", folder, "--", "sleep", "1000"]);
    run.expect("You're up and running!");
    let text = run.text();
    in_order(
        &text,
        &[
            "⚠  Unix domain sockets are currently a preview feature\n",
            &format!(
                "Starting Dapr with id sockets. HTTP Socket: {folder}/dapr-sockets-http.socket. gRPC Socket: {folder}/dapr-sockets-grpc.socket.\n"
            ),
            &format!(
                "Checking if Dapr sidecar is listening on HTTP socket {folder}/dapr-sockets-http.socket\n"
            ),
        ],
    );
    assert_eq!(pid(&listed(&home, "sockets").unwrap()["cliPid"]), run.pid());
    run.signal(Signal::SIGTERM);
    assert_eq!(run.end().0, Some(0));
    assert!(!home.path().join("dapr-sockets-http.socket").exists());
}

#[test]
fn runs_side_by_side_do_not_collide() {
    let home = Home::new();
    let ids = ["side-a", "side-bb", "side-ccc", "side-dddd"];
    let runs: Vec<_> =
        ids.iter().map(|id| home.start(&["run", "--app-id", id, "--", "sleep", "1000"])).collect();
    runs.iter().for_each(|run| run.expect("You're up and running!"));
    let ports: std::collections::HashSet<String> = ids
        .iter()
        .flat_map(|id| {
            let one = listed(&home, id).unwrap();
            [one["httpPort"].to_string(), one["grpcPort"].to_string()]
        })
        .collect();
    assert_eq!(ports.len(), 8);
    runs.iter().for_each(|run| run.signal(Signal::SIGINT));
    runs.into_iter().for_each(|run| assert_eq!(run.end().0, Some(0)));
}

#[test]
fn a_line_of_status_can_be_json() {
    let home = Home::new();
    let run = home.start(&["run", "--log-as-json", "--app-id", "jsonlog", "--", "true"]);
    let (code, text) = run.end();
    assert_eq!(code, Some(0));
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["status"], "info");
    assert!(first["msg"].as_str().unwrap().starts_with("Starting Dapr with id jsonlog."));
    if is_stand_in() {
        assert!(text.contains(" --log-as-json\n"), "forwarded: {text}");
    }
}
