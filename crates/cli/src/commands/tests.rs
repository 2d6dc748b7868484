//! Complete help and error texts; the expected ones stand in `help/`.

use dapr_flags::Outcome;

use super::tree;

fn resolve(args: &[&str]) -> (String, String) {
    let tree = tree();
    match tree.resolve(args.iter().map(|arg| (*arg).to_owned()).collect()).outcome {
        Outcome::Help(text) => (text, String::new()),
        Outcome::Refused { stderr, message } => (stderr, message),
        other => panic!("{args:?} led to {:?}", std::mem::discriminant(&other)),
    }
}

const HELP: [(&str, &str); 17] = [
    ("", include_str!("help/dapr.txt")),
    ("build-info", include_str!("help/build-info.txt")),
    ("completion", include_str!("help/completion.txt")),
    ("init", include_str!("help/init.txt")),
    ("invoke", include_str!("help/invoke.txt")),
    ("lint", include_str!("help/lint.txt")),
    ("list", include_str!("help/list.txt")),
    ("mtls", include_str!("help/mtls.txt")),
    ("mtls expiry", include_str!("help/mtls-expiry.txt")),
    ("mtls export", include_str!("help/mtls-export.txt")),
    ("mtls renew-certificate", include_str!("help/mtls-renew-certificate.txt")),
    ("publish", include_str!("help/publish.txt")),
    ("resiliency", include_str!("help/resiliency.txt")),
    ("run", include_str!("help/run.txt")),
    ("stop", include_str!("help/stop.txt")),
    ("uninstall", include_str!("help/uninstall.txt")),
    ("version", include_str!("help/version.txt")),
];

#[test]
fn help_texts_are_as_written_down() {
    for (command, expected) in HELP {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(resolve(&[&words[..], &["--help"]].concat()).0, expected, "dapr {command} --help");
        assert_eq!(resolve(&[&["help"], &words[..]].concat()).0, expected, "dapr help {command}");
    }
}

/// What Dapr's own end-to-end suite looks for (cli.md §1.2).
#[test]
fn usage_holds_what_others_match_on() {
    let (stderr, message) = resolve(&["run", "--flag"]);
    assert!(stderr.starts_with("Error: unknown flag: --flag\nUsage:\n  dapr run [flags]\n"), "{stderr}");
    assert_eq!(message, "unknown flag: --flag");
    for line in [
        "-a, --app-id string",
        "The id for your application, used for service discovery",
        "-f, --run-file string",
    ] {
        assert!(stderr.contains(line), "{line}");
    }
    assert!(resolve(&["stop", "-p"]).0.starts_with("Error: unknown shorthand flag: 'p' in -p\nUsage:\n"));
}

#[test]
fn required_flags_are_named_together() {
    assert_eq!(resolve(&["invoke"]).1, r#"required flag(s) "app-id", "method" not set"#);
    assert_eq!(resolve(&["publish", "-t", "x"]).1, r#"required flag(s) "publish-app-id", "pubsub" not set"#);
    assert_eq!(
        resolve(&["init", "--ca-root-certificate", "x"]).1,
        "if any flags in the group [ca-root-certificate issuer-private-key issuer-public-certificate] are set they \
         must all be set; missing [issuer-private-key issuer-public-certificate]"
    );
}

#[test]
fn commands_that_are_not_there_yet_are_not_listed() {
    let (help, _) = resolve(&["--help"]);
    for name in [
        "annotate",
        "components",
        "configurations",
        "logs",
        "mcpservers",
        "scheduler",
        "status",
        "upgrade",
        "workflow",
        "dashboard",
    ] {
        assert!(!help.contains(&format!("\n  {name} ")), "{name}");
    }
    assert_eq!(resolve(&["dashboard"]).1, r#"unknown command "dashboard" for "dapr""#);
}
