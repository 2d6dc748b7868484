//! `dapr run -f`: real processes (cli.md §5).

mod harness;

use std::path::{Path, PathBuf};

use harness::{Home, eventually, processes_with, write_script};
use nix::sys::signal::Signal;

/// The one log file of `kind` in the folder of an application.
fn log(app: &Path, kind: &str) -> Option<String> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(app.join(".dapr/logs"))
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(&format!("_{kind}_2")))
        .collect();
    assert!(found.len() <= 1, "{found:?}");
    found.pop().map(|path| std::fs::read_to_string(path).unwrap())
}

fn shop(home: &Home, apps: &str) -> PathBuf {
    for name in ["one", "two"] {
        std::fs::create_dir_all(home.path().join(name)).unwrap();
    }
    let file = home.path().join("dapr.yaml");
    std::fs::write(&file, format!("version: 1\nname: shop\napps:\n{apps}")).unwrap();
    file
}

#[test]
fn two_applications_run_until_stopped_by_their_file() {
    let home = Home::new();
    let command = r#"["sh", "-c", "echo \"$NAME at $(basename $(pwd))\"; printf '\\033[31mred\\033[0m\\n'; exec sleep 1000"]"#;
    let file = shop(
        &home,
        &format!(
            "- appDirPath: ./one\n  appID: first\n  env: {{NAME: anna}}\n  command: {command}\n- appDirPath: two\n  \
             env: {{NAME: bob}}\n  appLogDestination: console\n  daprdLogDestination: console\n  command: {command}\n"
        ),
    );
    let run = home.start(&["run", "-f", home.path().to_str().unwrap()]);
    run.expect("Writing log files to directory : ");
    run.expect("Started Dapr with app id \"two\"");
    run.expect("== APP - two == \u{1b}[31mred\u{1b}[0m\n");
    run.expect("== APP - first == \u{1b}[31mred\u{1b}[0m\n");
    let text = run.text();
    let own: Vec<&str> = text.lines().filter(|line| !line.starts_with("== APP")).collect();
    assert_eq!(own[0], "ℹ️  Validating config and starting app \"first\"");
    assert!(own[1].starts_with("ℹ️  Started Dapr with app id \"first\". HTTP Port: "), "{text}");
    assert_eq!(
        own[2],
        format!("ℹ️  Writing log files to directory : {}/one/.dapr/logs", home.path().display())
    );
    assert_eq!(own[3], "ℹ️  Validating config and starting app \"two\"");
    assert!(text.contains("== APP - first == anna at one\n"), "{text}");
    assert!(
        text.contains("ℹ️  Updating metadata for app command: sh -c"),
        "console logs show symbols: {text}"
    );

    let list = home.output(&["list"]);
    let table = String::from_utf8(list.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("first ")).unwrap();
    assert!(row.contains(file.to_str().unwrap()) && row.trim_end().ends_with("shop"), "{table}");

    let stop = home.output(&["stop", "-f", file.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&stop.stdout), "✅  Dapr and app processes stopped successfully\n");
    let (code, text) = run.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(
            "\nℹ️  Received signal to stop Dapr and app processes. Shutting down Dapr and app processes.\n"
        ),
        "{text}"
    );
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    let app_log = log(&one, "app").unwrap();
    assert!(app_log.contains("== APP - first == anna at one\n== APP - first == red\n"), "{app_log}");
    let daprd_log = log(&one, "daprd").unwrap();
    for line in [
        "Starting Dapr with id first. HTTP Port: ",
        "HTTP server is running on port ",
        "You're up and running! Dapr logs will appear here.\n",
        "termination signal received: shutting down\n",
        "Exited Dapr successfully\n",
        "Exited App successfully\n",
    ] {
        assert!(daprd_log.contains(line), "{line:?} is missing in\n{daprd_log}");
    }
    assert_eq!((log(&two, "app"), log(&two, "daprd")), (None, None));
    assert_eq!(processes_with(home.path().to_str().unwrap()), Vec::<i32>::new());
}

#[test]
fn one_that_ends_does_not_end_the_others() {
    let home = Home::new();
    shop(&home, "- appDirPath: one\n  command: [sh, -c, exit 1]\n- appDirPath: two\n");
    let run = home.start(&["run", "-f", "dapr.yaml"]);
    run.expect("Started Dapr with app id \"two\"");
    let one = home.path().join("one");
    let exited = "The App process exited with error code: exit status 1\n";
    eventually(
        || log(&one, "app").unwrap_or_default().contains(exited),
        || format!("{:?}", log(&one, "app")),
    );
    assert!(
        run.text().contains("⚠  No application command found for app \"two\" present in dapr.yaml\n"),
        "{}",
        run.text()
    );
    run.signal(Signal::SIGINT);
    let (code, text) = run.end();
    assert_eq!(code, Some(0), "{text}");
    let app_log = log(&one, "app").unwrap();
    assert!(
        app_log.contains("termination signal received: shutting down\nError exiting App: exit status 1\n"),
        "{app_log}"
    );
    assert_eq!(log(&home.path().join("two"), "app"), None);
}

#[test]
fn an_empty_command_stops_all() {
    let home = Home::new();
    shop(&home, "- appDirPath: one\n  command: [sleep, \"1000\"]\n- appDirPath: two\n  command: [\"\"]\n");
    let (code, text) = home.start(&["run", "-f", "dapr.yaml"]).end();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("Error starting Dapr and app (\"two\"): exec: no command\n"), "{text}");
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    assert!(log(&one, "app").unwrap().contains("termination signal received: shutting down\n"));
    assert!(log(&two, "app").unwrap().contains("Error starting app process: exec: no command\n"));
    assert!(
        log(&two, "daprd").unwrap().contains("Error starting Dapr and app (\"two\"): exec: no command\n")
    );
    assert_eq!(processes_with(home.path().to_str().unwrap()), Vec::<i32>::new());
}

#[test]
fn a_sidecar_that_cannot_start_is_named() {
    let home = Home::new();
    shop(&home, "- appDirPath: one\n  command: [\"true\"]\n");
    let daprd = home.path().join(".dapr/bin/daprd");
    write_script(&daprd, "#!/no/such/interpreter\n");
    let (code, text) = home.start(&["run", "-f", "dapr.yaml"]).end();
    assert_eq!(code, Some(1), "{text}");
    let line = format!(
        "Error starting Dapr and app (\"one\"): fork/exec {}: no such file or directory\n",
        daprd.display()
    );
    assert!(text.contains(&line), "{text}");
}

#[test]
fn one_of_several_can_be_stopped() {
    let home = Home::new();
    shop(&home, "- appDirPath: one\n  appID: multi-one\n- appDirPath: two\n  appID: multi-two\n");
    let run = home.start(&["run", "-f", "dapr.yaml"]);
    run.expect("Started Dapr with app id \"multi-two\"");
    let stop = home.output(&["stop", "multi-one"]);
    assert_eq!(String::from_utf8_lossy(&stop.stdout), "✅  app stopped successfully: multi-one\n");
    let list = || String::from_utf8(home.output(&["list"]).stdout).unwrap();
    eventually(|| !list().contains("multi-one"), list);
    assert!(list().contains("multi-two"));
    home.output(&["stop", "multi-two"]);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let home = Home::new();
    for command in ["run", "stop"] {
        let output = home.output(&[command, "-f", "/no/such/dir"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "❌  Failed to get run file path: error getting file info for /no/such/dir: stat /no/such/dir: no such file or directory\n"
        );
    }
    let file = shop(&home, "  []\n");
    let output = home.output(&["run", "-f", file.to_str().unwrap(), "--app-id", "x", "-H", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "⚠  The following flags are ignored when using --run-file and should be configured in the run file instead: \
         app-id, dapr-http-port\n❌  No apps to run\n"
    );
    let output = home.output(&["stop", "-f", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        stderr,
        format!(
            "❌  Failed to stop Dapr and app processes: couldn't find apps with run file \"{}\"\n",
            file.display()
        )
    );
}

#[test]
fn nothing_survives_a_killed_command() {
    let home = Home::new();
    shop(
        &home,
        "- appDirPath: one\n  command: [sleep, \"31536002\"]\n- appDirPath: two\n  command: [sleep, \"31536002\"]\n",
    );
    let run = home.start(&["run", "-f", "dapr.yaml"]);
    run.expect("Started Dapr with app id \"two\"");
    assert_eq!(processes_with("31536002").len(), 2);
    run.signal(Signal::SIGKILL);
    let left = || [processes_with("31536002"), processes_with(home.path().to_str().unwrap())].concat();
    eventually(|| left().is_empty(), || format!("{:?} survived", left()));
}
