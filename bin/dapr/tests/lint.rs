//! `dapr lint` from the outside: complete output, exit codes, what it takes
//! when nothing is named (docs/lint.md).

mod harness;

use std::path::Path;
use std::process::{Command, Output};

use harness::{Home, dapr};

fn lint(args: &[&str]) -> Command {
    let mut command = dapr();
    command.arg("lint").args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint"));
    command
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn everything_that_is_wrong_is_listed() {
    let (code, stdout, stderr) = texts(&lint(&["broken", "--config", "config.yaml"]).output().unwrap());
    assert_eq!(stdout, include_str!("lint/expected.txt"));
    assert_eq!(stderr, "❌  4 files checked: 18 errors, 2 warnings\n");
    assert_eq!(code, Some(1));
}

#[test]
fn json_lists_the_same() {
    let (code, stdout, stderr) =
        texts(&lint(&["broken", "-c", "config.yaml", "-o", "json"]).output().unwrap());
    let all: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let findings = all["findings"].as_array().unwrap();
    let lines: Vec<String> = findings
        .iter()
        .map(|f| {
            format!("{}:{}: {}", f["file"].as_str().unwrap(), f["line"], f["severity"].as_str().unwrap())
        })
        .collect();
    let expected: Vec<String> = include_str!("lint/expected.txt")
        .lines()
        .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(lines, expected);
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
}

#[test]
fn the_example_is_right() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/orders");
    let (code, stdout, stderr) = texts(&lint(&["-f", example]).output().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
    assert_eq!(stderr, "✅  5 files checked: nothing is wrong\n");
}

#[test]
fn without_arguments_the_installation_is_checked() {
    let home = Home::new();
    let (code, stdout, stderr) = texts(&home.output(&["lint"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("❌  there is nothing to check: neither "), "{stderr}");
    let components = home.path().join(".dapr/components");
    std::fs::create_dir_all(&components).unwrap();
    let (code, _, stderr) = texts(&home.output(&["lint"]));
    assert_eq!(code, Some(1));
    assert_eq!(stderr, format!("❌  no YAML file was found to check in {}\n", components.display()));
    let url = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: out\nspec:\n  type: bindings.http\n";
    std::fs::write(components.join("out.yaml"), url).unwrap();
    let (code, stdout, stderr) = texts(&home.output(&["lint"]));
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("out.yaml:5: warning: Component out: bindings.http does little without"),
        "{stdout}"
    );
    assert_eq!(stderr, "⚠  1 file checked: 1 warning\n");
    assert_eq!(texts(&home.output(&["lint", "--strict"])).0, Some(1));
}

#[test]
fn what_is_not_there_is_said() {
    let (code, _, stderr) = texts(&lint(&["nowhere"]).output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(1), "❌  stat nowhere: no such file or directory\n"));
    let (code, _, stderr) = texts(&lint(&["broken", "-o", "xml"]).output().unwrap());
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "❌  unknown output format xml. Valid values are: json\n");
}
