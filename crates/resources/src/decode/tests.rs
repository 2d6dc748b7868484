use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::yaml::parse_first;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct Sample {
    name: String,
    max_retries: Option<i64>,
    ignore_errors: bool,
    count: i32,
    codes: Vec<String>,
    labels: BTreeMap<String, String>,
    inner: Inner,
    any: serde_json::Value,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Inner {
    text: String,
}

fn read(text: &str, dialect: Dialect) -> Result<Sample, DecodeError> {
    decode(&parse_first(text).unwrap().unwrap(), dialect, "Sample")
}

fn resource(text: &str) -> Sample {
    read(text, Dialect::Resource).unwrap()
}

#[test]
fn numbers_and_booleans_become_strings_in_resource_files() {
    assert_eq!(resource("name: 123").name, "123");
    assert_eq!(resource("name: 0644").name, "420");
    assert_eq!(resource("name: no").name, "false");
    assert_eq!(resource("name: yes").name, "true");
    assert_eq!(resource("name: 'no'").name, "no");
    assert_eq!(resource("name: 1.50").name, "1.5");
    assert_eq!(resource("name: 1e6").name, "1e+06");
    assert_eq!(resource("name: 3.14159265358979").name, "3.1415927");
    assert_eq!(resource("name: 2001-12-14").name, "2001-12-14");
    assert_eq!(resource("codes: [400, 5.5, on, x]").codes, ["400", "5.5", "true", "x"]);
    assert_eq!(resource("labels: {a: 1, b: null, 3: x}").labels["a"], "1");
    assert_eq!(resource("labels: {a: 1, b: null, 3: x}").labels["b"], "");
    assert_eq!(resource("labels: {a: 1, b: null, 3: x}").labels["3"], "x");
}

#[test]
fn configuration_files_keep_the_text() {
    let read = |text| read(text, Dialect::Configuration).unwrap();
    assert_eq!(read("name: 1.50").name, "1.50");
    assert_eq!(read("name: 0644").name, "0644");
    assert_eq!(read("name: no").name, "no");
    assert!(read("ignoreErrors: yes").ignore_errors);
    assert_eq!(read("Name: x").name, "");
}

#[test]
fn field_names_in_any_case_and_unknown_fields() {
    let sample = resource("NAME: a\nmaxretries: 3\nIgnoreErrors: on\nunknown: {a: [1]}\ninner: {TEXT: b}");
    assert_eq!(sample.name, "a");
    assert_eq!(sample.max_retries, Some(3));
    assert!(sample.ignore_errors);
    assert_eq!(sample.inner.text, "b");
    assert_eq!(resource("Name: a\nname: b\nNAME: c").name, "c");
}

#[test]
fn nulls_are_defaults() {
    let sample = resource("name:\nmaxRetries: null\ncount: ~\ncodes:\nlabels:\ninner:\nany:");
    assert_eq!(sample, Sample::default());
    assert_eq!(resource("codes: [null]").codes, [""]);
}

#[test]
fn untyped_values_stay_what_they_are() {
    assert_eq!(resource("any: {a: [1, 2.5, yes, x]}").any, serde_json::json!({"a": [1, 2.5, true, "x"]}));
}

#[test]
fn whole_floats_are_integers() {
    assert_eq!(resource("count: 5.0").count, 5);
    assert!(read("count: 5.5", Dialect::Resource).is_err());
    assert!(read("count: 3000000000", Dialect::Resource).is_err());
}

#[test]
fn complaints_name_the_field_and_the_line() {
    let error = read("name: x\ninner:\n  text: [1]\n", Dialect::Resource).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go struct field \
         Sample.inner.text of type string (line 3)"
    );
    let error = read("ignoreErrors: 'true'", Dialect::Resource).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot unmarshal string into Go struct field Sample.ignoreErrors of type bool")
    );
    let error = read("[1]", Dialect::Resource).unwrap_err();
    assert!(error.to_string().contains("cannot unmarshal array into Go value of type Sample"), "{error}");
    let error = read("name: x\nignoreErrors: perhaps\n", Dialect::Configuration).unwrap_err();
    assert_eq!(
        error.to_string(),
        "yaml: unmarshal errors:\n  line 2: cannot unmarshal !!str `perhaps` into bool"
    );
}
