//! A list of flat records as block YAML (cli.md §1.4).

use serde_json::{Map, Value};

/// `- key: value` blocks; the empty list is `[]`.
pub(crate) fn records(list: &[Map<String, Value>]) -> String {
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
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

/// Plain where no reader can take it for anything but this text, else double
/// quoted (the JSON form is valid YAML).
pub(crate) fn string(text: &str) -> String {
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
    fn records_become_blocks() {
        let record =
            json!({"appId": "order", "httpPort": 3500, "metricsEnabled": true, "command": "", "age": "10s"});
        assert_eq!(
            records(&[record.as_object().unwrap().clone()]),
            "- appId: order\n  httpPort: 3500\n  metricsEnabled: true\n  command: \"\"\n  age: 10s\n"
        );
        assert_eq!(records(&[]), "[]\n");
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for text in ["123", "0x1f", "1e5", "yes", "Null", "2024-01-02", "a: b", "- x", "#x", "", "é"] {
            assert!(string(text).starts_with('"'), "{text}");
        }
        for text in ["a b", "/x/y.yaml", "2024-01-02 15:04.05", "a-b", "go run main.go"] {
            assert_eq!(string(text), text);
        }
    }
}
