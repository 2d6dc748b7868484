//! A list of flat records as JSON or block YAML (cli.md §1.4).

use dapr_gocompat::json::to_go_json;
use serde_json::Value;

/// Fields in the order in which they are shown.
pub(crate) type Record = Vec<(&'static str, Value)>;

/// Indented by two spaces, no newline at the end.
pub(crate) fn json(list: &[Record]) -> String {
    let field = |(key, value): &(&str, Value)| {
        format!("    \"{key}\": {}", String::from_utf8_lossy(&to_go_json(value)))
    };
    let records: Vec<String> = list
        .iter()
        .map(|record| record.iter().map(field).collect::<Vec<_>>().join(",\n"))
        .map(|fields| format!("  {{\n{fields}\n  }}"))
        .collect();
    if records.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", records.join(",\n")) }
}

/// `- key: value` blocks; the empty list is `[]`.
pub(crate) fn yaml(list: &[Record]) -> String {
    if list.is_empty() {
        return "[]\n".to_owned();
    }
    let mut out = String::new();
    for record in list {
        for (at, (key, value)) in record.iter().enumerate() {
            let lead = if at == 0 { "- " } else { "  " };
            out.push_str(&format!("{lead}{key}: {}\n", scalar(value)));
        }
    }
    out
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => yaml_string(text),
        other => other.to_string(),
    }
}

/// Plain where no reader can take it for anything but this text, else double
/// quoted (the JSON form is valid YAML).
pub(crate) fn yaml_string(text: &str) -> String {
    let safe = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ' ' | '+' | ':' | '=' | ',')
    };
    let plain = text.chars().all(safe)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !ambiguous(text);
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

/// Words and numbers that would be read as something else.
fn ambiguous(text: &str) -> bool {
    const WORDS: [&str; 12] =
        ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity"];
    let lower = text.to_ascii_lowercase();
    // A date, a time or a number in any base starts with a digit; only a text
    // that also holds a letter outside of those, or a space, is safe.
    let numeric = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| {
            c.is_ascii_hexdigit() || matches!(c, '.' | '_' | '-' | '+' | ':' | 'x' | 'X' | 'o' | 'T' | 'Z')
        });
    WORDS.contains(&lower.as_str()) || numeric
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_keep_their_order() {
        let record: Record =
            vec![("z", json!("a<b")), ("httpPort", json!(3500)), ("on", json!(true)), ("command", json!(""))];
        assert_eq!(
            yaml(std::slice::from_ref(&record)),
            "- z: \"a<b\"\n  httpPort: 3500\n  on: true\n  command: \"\"\n"
        );
        assert_eq!(
            super::json(&[record]),
            "[\n  {\n    \"z\": \"a\\u003cb\",\n    \"httpPort\": 3500,\n    \"on\": true,\n    \"command\": \"\"\n  }\n]"
        );
        assert_eq!((yaml(&[]), super::json(&[])), ("[]\n".to_owned(), "[]".to_owned()));
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for text in ["123", "0x1f", "1e5", "yes", "Null", "2024-01-02", "a: b", "- x", "#x", "", "é"] {
            assert!(yaml_string(text).starts_with('"'), "{text}");
        }
        for text in ["a b", "/x/y.yaml", "2024-01-02 15:04.05", "a-b", "go run main.go"] {
            assert_eq!(yaml_string(text), text);
        }
    }
}
