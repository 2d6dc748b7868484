use dapr_gocompat::json::to_go_json;
use proptest::prelude::*;

use super::*;

fn json(text: &str, dialect: Dialect) -> String {
    let node = parse_first(text).unwrap().unwrap();
    String::from_utf8(to_go_json(&node.to_json(dialect).unwrap())).unwrap()
}

fn resource(text: &str) -> String {
    json(text, Dialect::Resource)
}

#[test]
fn scalars_of_resource_files() {
    let table = [
        ("yes", "true"),
        ("On", "true"),
        ("y", "true"),
        ("no", "false"),
        ("OFF", "false"),
        ("N", "false"),
        ("yES", "\"yES\""),
        ("true", "true"),
        ("'true'", "\"true\""),
        ("\"no\"", "\"no\""),
        ("0644", "420"),
        ("0o644", "420"),
        ("0x1F", "31"),
        ("-0b101", "-5"),
        ("1_000", "1000"),
        ("+5", "5"),
        ("089", "89"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        ("1.0", "1"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1.", "1"),
        ("1.2.3", "\"1.2.3\""),
        ("1:30", "\"1:30\""),
        ("2001-12-14", "\"2001-12-14\""),
        ("10s", "\"10s\""),
        ("-", "[null]"),
        ("+", "\"+\""),
        (".", "\".\""),
        ("0x", "\"0x\""),
        ("1_0.5", "10.5"),
        ("!!str 12", "\"12\""),
        ("!!float 3", "3"),
        ("! 12", "\"12\""),
        ("|\n  a\n  b\n", "\"a\\nb\\n\""),
        (">-\n  a\n  b\n", "\"a b\""),
        ("[~, null, '', NULL]", "[null,null,\"\",null]"),
        ("{yes: 1, 2: a, 1.5: b, ~x: c}", "{\"1.5\":\"b\",\"2\":\"a\",\"true\":1,\"~x\":\"c\"}"),
    ];
    for (text, expected) in table {
        assert_eq!(resource(text), expected, "{text}");
    }
}

#[test]
fn configuration_files_know_fewer_booleans() {
    assert_eq!(
        json("{a: yes, b: true, c: 0644, d: 0o17}", Dialect::Configuration),
        "{\"a\":\"yes\",\"b\":true,\"c\":420,\"d\":15}"
    );
}

#[test]
fn anchors_and_merge_keys() {
    let text = "base: &b {x: 1, z: 2}\nlist: &l [*b]\ncopy:\n  <<: *b\n  z: 3\nmore:\n  <<: [{x: 9}, *b]\nagain: *l\n";
    assert_eq!(
        resource(text),
        r#"{"again":[{"x":1,"z":2}],"base":{"x":1,"z":2},"copy":{"x":1,"z":3},"list":[{"x":1,"z":2}],"more":{"x":9,"z":2}}"#
    );
    // A merge that follows a key replaces it in resource files only.
    let late = "copy:\n  z: 3\n  <<: {z: 2}\n";
    assert_eq!(resource(late), r#"{"copy":{"z":2}}"#);
    assert_eq!(json(late, Dialect::Configuration), r#"{"copy":{"z":3}}"#);
}

#[test]
fn duplicate_keys() {
    assert_eq!(resource("a: 1\na: 2\n"), r#"{"a":2}"#);
    let node = parse_first("b:\n  a: 1\n  a: 2\n").unwrap().unwrap();
    assert_eq!(
        node.to_json(Dialect::Configuration).unwrap_err().to_string(),
        "yaml: line 3: mapping key \"a\" already defined at line 2"
    );
}

#[test]
fn errors_name_the_line_of_the_file() {
    let bad = "a: 1\nb: [1, 2\nc: 3\n";
    let error = parse_first(bad).unwrap_err();
    assert!((2..=4).contains(&error.line), "{error}");
    let later = parse_first_at(bad, 11).unwrap_err();
    assert_eq!(later.line, error.line + 10);
    assert!(parse_first("a: *nope\n").is_err());
    assert!(parse_first("a: &a [*a]\n").is_err());
    assert!(parse_first("a: \"open\n").is_err());
    assert!(parse_first("a: b: c\n").is_err());
    assert!(parse_first("a:\n\tb: 1\n").is_err());
    let tag = parse_first("x:\n  y: !!int abc\n").unwrap().unwrap();
    assert_eq!(
        tag.to_json(Dialect::Resource).unwrap_err().to_string(),
        "yaml: line 2: cannot decode !!str `abc` as a !!int"
    );
    let infinite = parse_first("x: .inf\n").unwrap().unwrap();
    assert!(infinite.to_json(Dialect::Resource).is_err());
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    assert!(parse_first(&bomb).unwrap_err().to_string().contains("excessive aliasing"));
    assert!(parse_first(&"[".repeat(5000)).is_err());
}

#[test]
fn indentation_is_taken_as_lightly_as_in_go() {
    assert_eq!(resource("a:\n  b: [\n    x,\n  ]\n"), r#"{"a":{"b":["x"]}}"#);
    assert_eq!(resource("a:\n  b: {\n  x: 1\n  }\n"), r#"{"a":{"b":{"x":1}}}"#);
    assert_eq!(resource("a:\n  b: \"x\ny\"\n"), r#"{"a":{"b":"x y"}}"#);
}

#[test]
fn a_block_scalar_at_an_open_end_has_no_line_break() {
    assert_eq!(resource("a: |\n  x\n  y"), r#"{"a":"x\ny"}"#);
    assert_eq!(resource("a: |\n  x\n  y\n"), r#"{"a":"x\ny\n"}"#);
    assert_eq!(resource("a: >+\n  x\n  y"), r#"{"a":"x y"}"#);
    assert_eq!(resource("a: |\n  x\n  "), r#"{"a":"x\n"}"#);
    assert_eq!(resource("a: |\n  x\nb: z"), r#"{"a":"x\n","b":"z"}"#);
    let chunk = split_documents("a: |\n  x\n---\n")[0];
    assert_eq!(resource(chunk.text), r#"{"a":"x"}"#);
}

#[test]
fn a_parser_panic_is_an_error() {
    let error = parse_first("a: 1\nb: [!!str, x]\n").unwrap_err();
    assert_eq!(error.line, 2);
    assert_eq!(resource("[!!str , x]"), r#"["","x"]"#);
}

#[test]
fn binary_scalars_are_decoded() {
    assert_eq!(resource("!!binary aGk="), r#""hi""#);
    assert!(parse_first("!!binary '%'").is_err());
}

#[test]
fn empty_documents() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n", "\u{feff}"] {
        assert_eq!(parse_first(text), Ok(None), "{text:?}");
    }
    assert_eq!(resource("---\na: 1\n---\nb: 2\n"), r#"{"a":1}"#);
    assert_eq!(resource("\u{feff}a: 1\n"), r#"{"a":1}"#);
    assert_eq!(resource("a: 1\r\nb: x\r\n"), r#"{"a":1,"b":"x"}"#);
}

#[test]
fn documents_are_split_at_lines_of_dashes() {
    let chunks = split_documents("---\na: 1\n--- # note\nb: 2\n---\n\n---\nc: 3");
    let found: Vec<_> = chunks.iter().map(|c| (c.text, c.line)).collect();
    assert_eq!(found, [("---\na: 1", 1), ("b: 2", 4), ("", 6), ("c: 3", 8)]);
    assert_eq!(split_documents("a: 1\n---").len(), 1);
    assert_eq!(split_documents("a: 1\n---\n").len(), 1);
    assert!(split_documents("").is_empty());
}

#[test]
fn split_lines_agree_with_the_file() {
    let text = "a: 1\n\n---\nb: 1\nc: [\n";
    let chunk = split_documents(text)[1];
    assert_eq!(chunk.line, 4);
    let line = parse_first_at(chunk.text, chunk.line).unwrap_err().line;
    assert!((5..=6).contains(&line), "{line}");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[-\\[\\]{}a-c:&*!|>'\"# \n<,0-9.~?%@`]{0,60}") {
        for chunk in split_documents(&text) {
            if let Ok(Some(node)) = parse_first_at(chunk.text, chunk.line) {
                let _ = node.to_json(Dialect::Resource);
                let _ = node.to_json(Dialect::Configuration);
            }
        }
    }

    #[test]
    fn json_comes_back_unchanged(keys in prop::collection::btree_map("[a-zA-Z0-9 .~]{0,6}", "[ -~]{0,10}", 0..6)) {
        let value = serde_json::to_value(&keys).unwrap();
        for dialect in [Dialect::Resource, Dialect::Configuration] {
            prop_assert_eq!(Node::from_json(&value).to_json(dialect).unwrap(), value.clone());
        }
    }
}
