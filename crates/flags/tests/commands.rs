//! The command tree: routing, help, refusals, completion scripts.

use std::process::Command as Process;

use dapr_flags::completion::{Shell, script};
use dapr_flags::{ArgCount, Command, Flag, FlagGroup, Outcome};

type Tree = Command<&'static str>;

fn tree() -> Tree {
    Command::new("boat", "A boat")
        .long("A boat that floats.\n")
        .persistent_flag(Flag::bool("json", false, "Talk JSON"))
        .persistent_flag(Flag::string("root-path", "", "Where things are"))
        .flag(Flag::bool("version", false, "version for boat").short('v'))
        .run("root")
        .child(
            Command::new("sail", "Go somewhere")
                .aliases(&["s", "go"])
                .args_usage("PLACE")
                .example("\n# Go home\nboat sail home\n")
                .args(ArgCount::AtLeast(1))
                .flag(Flag::int("speed", 5, "Knots").short('s'))
                .flag(Flag::string("cargo", "", "What to carry"))
                .flag(Flag::string("ca", "", "x").hidden())
                .flag(Flag::string("key", "", "y").hidden())
                .flag(Flag::bool("fast", false, "f").hidden())
                .flag(Flag::bool("slow", false, "s").hidden())
                .require(&["speed", "cargo"])
                .group(FlagGroup::Together(vec!["ca", "key"]))
                .group(FlagGroup::Exclusive(vec!["fast", "slow"]))
                .run("sail"),
        )
        .child(
            Command::new("crew", "People")
                .child(Command::new("list", "Who is here").args(ArgCount::None).run("crew list"))
                .child(Command::new("pay", "Pay one").args(ArgCount::Exactly(1)).run("crew pay")),
        )
        .child(Command::new("sink", "Never").hidden().raw().run("sink"))
}

fn resolve<R>(args: &[&str], check: impl FnOnce(Outcome<'_, &'static str>) -> R) -> R {
    let tree = tree();
    let resolved = tree.resolve(args.iter().map(|arg| (*arg).to_owned()).collect());
    assert_eq!(resolved.warnings, Vec::<String>::new());
    check(resolved.outcome)
}

fn ran(args: &[&str]) -> (&'static str, Vec<String>) {
    resolve(args, |outcome| match outcome {
        Outcome::Run { handler, matches, .. } => (*handler, matches.positionals().to_vec()),
        other => panic!("{args:?} led to {other:?}"),
    })
}

fn refused(args: &[&str]) -> (String, String) {
    resolve(args, |outcome| match outcome {
        Outcome::Refused { message, stderr } => (message, stderr),
        other => panic!("{args:?} led to {other:?}"),
    })
}

fn help(args: &[&str]) -> String {
    resolve(args, |outcome| match outcome {
        Outcome::Help(text) => text,
        other => panic!("{args:?} led to {other:?}"),
    })
}

const ROOT_HELP: &str = r#"A boat that floats.

Usage:
  boat [flags]
  boat [command]

Available Commands:
  crew        People
  help        Help about any command
  sail        Go somewhere

Flags:
  -h, --help               help for boat
      --json               Talk JSON
      --root-path string   Where things are
  -v, --version            version for boat

Use "boat [command] --help" for more information about a command.
"#;

const SAIL_HELP: &str = r#"Go somewhere

Usage:
  boat sail PLACE [flags]

Aliases:
  sail, s, go

Examples:

# Go home
boat sail home


Flags:
      --cargo string   What to carry
  -h, --help           help for sail
  -s, --speed int      Knots (default 5)

Global Flags:
      --json               Talk JSON
      --root-path string   Where things are
"#;

#[test]
fn help_texts_are_complete() {
    for args in [&["--help"][..], &["-h"], &["help"], &["help", "--json"]] {
        assert_eq!(help(args), ROOT_HELP, "{args:?}");
    }
    for args in
        [&["sail", "--help"][..], &["help", "sail"], &["--json", "help", "s"], &["go", "-h", "--speed", "1"]]
    {
        assert_eq!(help(args), SAIL_HELP, "{args:?}");
    }
    assert_eq!(
        help(&["crew"]),
        "People\n\nUsage:\n  boat crew [command]\n\nAvailable Commands:\n  list        Who is here\n  pay         Pay one\n\n\
         Flags:\n  -h, --help   help for crew\n\nGlobal Flags:\n      --json               Talk JSON\n      \
         --root-path string   Where things are\n\nUse \"boat crew [command] --help\" for more information about a command.\n"
    );
}

#[test]
fn words_find_their_command_past_flags() {
    assert_eq!(ran(&[]).0, "root");
    assert_eq!(ran(&["-v"]).0, "root");
    assert_eq!(ran(&["--root-path", "sail", "--json", "crew", "list"]).0, "crew list");
    assert_eq!(ran(&["crew", "--json", "pay", "anna"]), ("crew pay", vec!["anna".to_owned()]));
    let sail = &["sail", "home", "--speed=1", "--cargo", "x", "--", "-s"];
    assert_eq!(ran(sail), ("sail", vec!["home".to_owned(), "-s".to_owned()]));
    assert_eq!(ran(&["sink", "--help", "-x"]), ("sink", vec!["--help".to_owned(), "-x".to_owned()]));
}

#[test]
fn refusals_show_the_usage_of_their_command() {
    let usage = SAIL_HELP.strip_prefix("Go somewhere\n\n").unwrap();
    let (message, stderr) = refused(&["sail", "--flag"]);
    assert_eq!(message, "unknown flag: --flag");
    assert_eq!(stderr, format!("Error: unknown flag: --flag\n{usage}\n"));

    let given = ["sail", "x", "--speed", "1", "--cargo", "y"];
    let with = |more: &[&'static str]| refused(&[&given[..], more].concat()).0;
    assert_eq!(refused(&["sail", "x"]).0, r#"required flag(s) "cargo", "speed" not set"#);
    assert_eq!(refused(&["sail"]).0, "requires at least 1 arg(s), only received 0");
    assert_eq!(refused(&["crew", "pay"]).0, "accepts 1 arg(s), received 0");
    assert_eq!(refused(&["crew", "list", "x"]).0, r#"unknown command "x" for "boat crew list""#);
    assert_eq!(
        with(&["--ca", "1"]),
        "if any flags in the group [ca key] are set they must all be set; missing [key]"
    );
    assert_eq!(
        with(&["--slow", "--fast"]),
        "if any flags in the group [fast slow] are set none of the others can be; [fast slow] were all set"
    );
}

#[test]
fn an_unknown_command_gets_a_hint_instead_of_usage() {
    let (message, stderr) = refused(&["dashboard"]);
    assert_eq!(message, r#"unknown command "dashboard" for "boat""#);
    assert_eq!(stderr, "Error: unknown command \"dashboard\" for \"boat\"\nRun 'boat --help' for usage.\n");
    let (_, stderr) = refused(&["sial"]);
    assert_eq!(
        stderr,
        "Error: unknown command \"sial\" for \"boat\"\n\nDid you mean this?\n\tsail\n\nRun 'boat --help' for usage.\n"
    );
    assert!(!refused(&["sinks"]).0.contains("Did you mean"), "hidden commands are not offered");
}

#[test]
fn help_on_nothing_known_names_the_topic() {
    resolve(&["help", "me", "now"], |outcome| match outcome {
        Outcome::UnknownTopic(text) => {
            assert!(text.starts_with("Unknown help topic [`me` `now`]\nUsage:\n  boat [flags]\n"), "{text}");
        }
        other => panic!("{other:?}"),
    });
}

/// What bash offers after `line`; the script runs in a real bash.
fn bash_offers(line: &[&str]) -> Vec<String> {
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let program = format!(
        "{}\nCOMP_WORDS=({}); COMP_CWORD={}; __boat_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script(&tree(), Shell::Bash),
        words.join(" "),
        line.len() - 1
    );
    let folder = tempfile::tempdir().unwrap();
    let out = Process::new("bash").arg("-c").arg(program).current_dir(folder.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    assert_eq!(bash_offers(&["boat", ""]), ["crew", "help", "sail"]);
    assert_eq!(bash_offers(&["boat", "s"]), ["sail"]);
    assert_eq!(bash_offers(&["boat", "--root-path", "x", "crew", ""]), ["list", "pay"]);
    assert_eq!(bash_offers(&["boat", "sail", "--s"]), ["--speed"]);
    assert_eq!(bash_offers(&["boat", "sail", "--speed", ""]), Vec::<String>::new());
    assert_eq!(bash_offers(&["boat", "sail", "--", "--s"]), Vec::<String>::new());
}

#[test]
fn every_shell_gets_every_visible_command_and_flag() {
    for shell in Shell::ALL {
        let text = script(&tree(), shell);
        for word in ["crew", "pay", "sail", "speed", "root-path", "boat crew list"] {
            assert!(text.contains(word), "{} lacks {word}", shell.name());
        }
        assert!(!text.contains("sink"), "{} shows a hidden command", shell.name());
    }
}
