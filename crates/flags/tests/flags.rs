//! Reading flags: forms, errors and usage lines (cli.md §1.2).

use std::time::Duration;

use dapr_flags::{Dashes, Flag, FlagError, FlagSet, Matches};

fn set() -> FlagSet {
    FlagSet::new()
        .with(Flag::string("app-id", "", "The id for your application").short('a'))
        .with(Flag::int("app-port", -1, "The port your application is listening on").short('p'))
        .with(Flag::bool("verbose", false, "Say more").short('v'))
        .with(Flag::bool("mtls", true, "Encrypt"))
        .with(Flag::uint("timeout", 300, "Seconds to wait"))
        .with(Flag::duration("interval", Duration::from_secs(90), "Time between `ticks`"))
        .with(Flag::list("resources-path", &[], "Folders\nwith resources"))
        .with(Flag::list("origins", &["a", "b"], "Allowed origins"))
        .with(Flag::array("set", "Values"))
        .with(Flag::count("loud", "Volume").short('l'))
        .with(Flag::string("level", "info", "Verbosity"))
        .with(Flag::string("components-path", "", "Folder").short('d').deprecated("use --resources-path"))
        .with(Flag::string("secret", "", "Not shown").hidden())
}

fn parse(args: &[&str]) -> Result<Matches, FlagError> {
    set().parse(args.iter().copied(), Dashes::Grouped)
}

fn refusal(args: &[&str]) -> String {
    parse(args).expect_err("must be refused").to_string()
}

#[test]
fn every_spelling_of_a_value() {
    for args in [
        &["-p3000"][..],
        &["-p=3000"],
        &["-p", "3000"],
        &["--app-port=3000"],
        &["--app-port", "3000"],
        &["-vp3000"],
        &["-vp", "3000"],
        &["--app-port", "1", "-p", "0xbb8"],
    ] {
        assert_eq!(parse(args).unwrap().int("app-port"), 3000, "{args:?}");
    }
}

#[test]
fn values_may_start_with_a_dash() {
    let matches = parse(&["--app-port", "-1", "-a", "--odd", "--level=-x"]).unwrap();
    assert_eq!(matches.int("app-port"), -1);
    assert_eq!(matches.string("app-id"), "--odd");
    assert_eq!(matches.string("level"), "-x");
}

#[test]
fn booleans_take_values_only_behind_an_equals_sign() {
    let matches = parse(&["--verbose", "false", "--mtls=F"]).unwrap();
    assert!(matches.bool("verbose"));
    assert!(!matches.bool("mtls"));
    assert_eq!(matches.positionals(), ["false"]);
    assert!(!parse(&["-v=false"]).unwrap().bool("verbose"));
}

#[test]
fn positionals_interleave_until_the_terminator() {
    let matches = parse(&["one", "-v", "two", "-", "--", "-p", "--nope"]).unwrap();
    assert_eq!(matches.positionals(), ["one", "two", "-", "-p", "--nope"]);
    assert_eq!(matches.positionals_before_dashes(), Some(3));
    assert_eq!(matches.int("app-port"), -1);
}

#[test]
fn lists_split_repeat_and_replace_their_default() {
    let matches =
        parse(&["--resources-path", "a,b", "--resources-path=c", "--set", "x=1,y=2", "--set=z=3"]).unwrap();
    assert_eq!(matches.list("resources-path"), ["a", "b", "c"]);
    assert_eq!(matches.list("set"), ["x=1,y=2", "z=3"]);
    assert_eq!(matches.list("origins"), ["a", "b"]);
    assert_eq!(parse(&["--origins=c"]).unwrap().list("origins"), ["c"]);
}

#[test]
fn counts_and_durations() {
    let matches = parse(&["-lll", "--loud", "--interval", "1h2m"]).unwrap();
    assert_eq!(matches.count("loud"), 4);
    assert_eq!(matches.duration("interval"), Duration::from_secs(3720));
}

#[test]
fn changed_tells_given_from_default() {
    let matches = parse(&["--level", "info", "-v"]).unwrap();
    assert!(matches.changed("level"));
    assert!(!matches.changed("app-id"));
    assert_eq!(matches.given(), ["level", "verbose"]);
}

#[test]
fn deprecated_flags_work_and_warn_each_time() {
    let matches = parse(&["-d", "x", "--components-path=y"]).unwrap();
    assert_eq!(matches.string("components-path"), "y");
    let line = "Flag --components-path has been deprecated, use --resources-path";
    assert_eq!(matches.warnings(), [line, line]);
}

#[test]
fn refusals_have_the_known_texts() {
    for (args, message) in [
        (&["--flag"][..], "unknown flag: --flag"),
        (&["--flag=1"], "unknown flag: --flag"),
        (&["-x"], "unknown shorthand flag: 'x' in -x"),
        (&["-vxa"], "unknown shorthand flag: 'x' in -xa"),
        (&["-'"], r"unknown shorthand flag: '\'' in -'"),
        (&["--app-id"], "flag needs an argument: --app-id"),
        (&["-va"], "flag needs an argument: 'a' in -a"),
        (&["--=x"], "bad flag syntax: --=x"),
        (&["---x"], "bad flag syntax: ---x"),
        (
            &["-p", "x"],
            r#"invalid argument "x" for "-p, --app-port" flag: strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        (
            &["--timeout=-1"],
            r#"invalid argument "-1" for "--timeout" flag: strconv.ParseUint: parsing "-1": invalid syntax"#,
        ),
        (
            &["--mtls=maybe"],
            r#"invalid argument "maybe" for "--mtls" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
        (
            &["--interval=5"],
            r#"invalid argument "5" for "--interval" flag: time: missing unit in duration "5""#,
        ),
        (&["--help"], "pflag: help requested"),
    ] {
        assert_eq!(refusal(args), message, "{args:?}");
    }
}

#[test]
fn one_dash_may_stand_for_two() {
    let parse = |args: &[&str]| set().parse(args.iter().copied(), Dashes::SingleIsLong);
    let matches = parse(&["-app-id", "x", "-app-port=7", "-v"]).unwrap();
    assert_eq!((matches.string("app-id"), matches.int("app-port")), ("x", 7));
    assert_eq!(parse(&["--app-port", "-1"]).unwrap().int("app-port"), -1);
    assert!(parse(&["--app-port", "-123"]).is_err());
}

#[test]
fn usage_lines_stand_in_columns() {
    let expected = r#"  -a, --app-id string            The id for your application
  -p, --app-port int             The port your application is listening on (default -1)
      --interval ticks           Time between ticks (default 1m30s)
      --level string             Verbosity (default "info")
  -l, --loud count               Volume
      --mtls                     Encrypt (default true)
      --origins strings          Allowed origins (default [a,b])
      --resources-path strings   Folders
                                 with resources
      --set stringArray          Values
      --timeout uint             Seconds to wait (default 300)
  -v, --verbose                  Say more
"#;
    assert_eq!(set().usages(), expected);
}

#[test]
#[should_panic(expected = "flag redefined: level")]
fn a_name_is_defined_once() {
    set().add(Flag::bool("level", false, "again"));
}
