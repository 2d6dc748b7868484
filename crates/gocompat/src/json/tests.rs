use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn output_is_sorted_and_escaped_for_html() {
    let value =
        json!({"b": "<a>&\u{2028}\u{2029}\u{7f}\u{1}\u{8}\u{c}\n\r\t\"\\/", "a": null, "B": [true, {}]});
    assert_eq!(
        text(to_go_json(&value)),
        r#"{"B":[true,{}],"a":null,"b":"\u003ca\u003e\u0026\u2028\u2029"#.to_owned()
            + "\u{7f}"
            + r#"\u0001\b\f\n\r\t\"\\/"}"#
    );
    assert_eq!(escape_str("a<b"), r#""a\u003cb""#);
}

#[test]
fn floats_are_written_as_go_writes_them() {
    let table: &[(f64, &str)] = &[
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.5e21, "-1.5e+21"),
        (123_456_789_012_345_678.0, "123456789012345680"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-9, "1.5e-9"),
        (1e-10, "1e-10"),
        (1.2e-100, "1.2e-100"),
        (1.5e300, "1.5e+300"),
        (1.0 / 3.0, "0.3333333333333333"),
        (5e-324, "5e-324"),
    ];
    for (float, expected) in table {
        assert_eq!(text(to_go_json(&json!(float))), *expected);
    }
    assert_eq!(text(to_go_json(&json!(u64::MAX))), "18446744073709551615");
    assert_eq!(text(to_go_json(&json!(i64::MIN))), "-9223372036854775808");
}

#[test]
fn normalizing_passes_numbers_through_floats_and_stops_after_one_value() {
    let table = [
        (r#" {"b":1,"a":12345678901234567890} trailing"#, r#"{"a":12345678901234567000,"b":1}"#),
        ("1.0", "1"),
        ("01", "0"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#""\ud83d\ude00\ud800x\u00e9""#, "\"\u{1F600}\u{fffd}x\u{e9}\""),
        (r#""\ud800\u0041""#, "\"\u{fffd}A\""),
        ("[ ]", "[]"),
        ("1e3", "1000"),
    ];
    for (input, expected) in table {
        assert_eq!(normalize(input.as_bytes()).map(text), Ok(expected.to_owned()), "{input}");
    }
    assert_eq!(normalize(b"\"\xff\xe2\x82\"").map(text), Ok("\"\u{fffd}\u{fffd}\u{fffd}\"".to_owned()));
}

#[test]
fn errors_carry_the_text_of_go() {
    // Input, message of the stream decoder, message of the whole-input decoder.
    let value = "looking for beginning of value";
    let table = [
        ("", "EOF", "unexpected end of JSON input"),
        (" \n", "EOF", "unexpected end of JSON input"),
        ("{", "unexpected EOF", "unexpected end of JSON input"),
        ("{\"a\"", "unexpected EOF", "unexpected end of JSON input"),
        ("{\"a\":1", "unexpected EOF", "unexpected end of JSON input"),
        ("[1,", "unexpected EOF", "unexpected end of JSON input"),
        ("\"a", "unexpected EOF", "unexpected end of JSON input"),
        ("\"\\u12", "unexpected EOF", "unexpected end of JSON input"),
        ("nul", "unexpected EOF", "invalid character ' ' in literal null (expecting 'l')"),
        ("tru", "unexpected EOF", "invalid character ' ' in literal true (expecting 'e')"),
        ("1.", "unexpected EOF", "invalid character ' ' after decimal point in numeric literal"),
        ("-", "unexpected EOF", "invalid character ' ' in numeric literal"),
        ("1e", "unexpected EOF", "invalid character ' ' in exponent of numeric literal"),
    ];
    for (input, stream, whole) in table {
        assert_eq!(decode_first(input.as_bytes()).unwrap_err().to_string(), stream, "{input}");
        assert_eq!(decode_whole(input.as_bytes()).unwrap_err().to_string(), whole, "{input}");
    }
    let both = [
        ("}", format!("invalid character '}}' {value}")),
        ("{a", "invalid character 'a' looking for beginning of object key string".to_owned()),
        ("[1,]", format!("invalid character ']' {value}")),
        ("nulx", "invalid character 'x' in literal null (expecting 'l')".to_owned()),
        ("fxlse", "invalid character 'x' in literal false (expecting 'a')".to_owned()),
        ("1.x", "invalid character 'x' after decimal point in numeric literal".to_owned()),
        ("\"a\nb\"", r"invalid character '\n' in string literal".to_owned()),
        ("\"\\x\"", "invalid character 'x' in string escape code".to_owned()),
        ("\"\\u12g\"", r"invalid character 'g' in \u hexadecimal character escape".to_owned()),
        ("\u{e9}", format!("invalid character '\u{c3}' {value}")),
        ("\0", format!(r"invalid character '\x00' {value}")),
        ("'", format!(r"invalid character '\'' {value}")),
        ("\\", format!(r"invalid character '\\' {value}")),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string".to_owned()),
        ("{\"a\" 1}", "invalid character '1' after object key".to_owned()),
        ("[1 2]", "invalid character '2' after array element".to_owned()),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair".to_owned()),
        ("1e400", "json: cannot unmarshal number 1e400 into Go value of type float64".to_owned()),
    ];
    for (input, message) in both {
        assert_eq!(decode_first(input.as_bytes()).unwrap_err().to_string(), message, "{input}");
        assert_eq!(decode_whole(input.as_bytes()).unwrap_err().to_string(), message, "{input}");
    }
    let trailing = decode_whole(b"{} x").unwrap_err().to_string();
    assert_eq!(trailing, "invalid character 'x' after top-level value");
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(normalize(deep(1000).as_bytes()).is_ok());
    let message = normalize(deep(1001).as_bytes()).unwrap_err().to_string();
    assert_eq!(message, "invalid character '[' exceeded max depth");
}

#[test]
fn type_errors() {
    assert_eq!(
        unmarshal_type_error(kind_name(&json!({})), "[]state.SetRequest"),
        "json: cannot unmarshal object into Go value of type []state.SetRequest"
    );
    assert_eq!(
        unmarshal_field_error("number", "T.A", "string"),
        "json: cannot unmarshal number into Go struct field T.A of type string"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| json!(f)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_json()) {
        let bytes = to_go_json(&value);
        prop_assert_eq!(&decode_whole(&bytes).unwrap(), &value);
        prop_assert_eq!(normalize(&bytes).unwrap(), bytes);
    }

    #[test]
    fn validity_agrees_with_serde_json(input in r#"[-\[\]{}",:0-9a-eE+.\\ntrufls ]{0,12}"#) {
        // Where they differ on purpose: lone surrogates and numbers out of range.
        let ours = decode_whole(input.as_bytes());
        let theirs = serde_json::from_str::<Value>(&input);
        if !matches!(ours, Err(JsonError::NumberRange(_))) && !input.contains("\\u") {
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        }
    }
}
