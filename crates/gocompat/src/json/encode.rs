use serde_json::{Map, Number, Value};

/// A value as Go's `json.Marshal` writes it: keys sorted, no white space,
/// `<`, `>`, `&`, U+2028 and U+2029 escaped.
///
/// A number that is held as an integer is written in full; one held as a float
/// gets Go's float format.
pub fn to_go_json(value: &Value) -> Vec<u8> {
    let mut out = String::with_capacity(64);
    write_go_json(value, &mut out);
    out.into_bytes()
}

/// [`to_go_json`], appended to `out`.
pub fn write_go_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_go_json(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => write_object(fields, out),
    }
}

fn write_object(fields: &Map<String, Value>, out: &mut String) {
    // A dependency may switch the map to insertion order, so order is made here.
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_go_json(value, out);
    }
    out.push('}');
}

fn write_number(number: &Number, out: &mut String) {
    if !number.is_f64() {
        return out.push_str(&number.to_string());
    }
    let Some(float) = number.as_f64() else { return out.push_str(&number.to_string()) };
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{float:e}");
        match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => {
                out.extend([mantissa, "e+", exponent]);
            }
            _ => out.push_str(&text),
        }
    } else {
        out.push_str(&float.to_string());
    }
}

/// A JSON string literal, quotes included, escaped as Go escapes it.
pub fn escape_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    out
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '<' => "\\u003c",
            '>' => "\\u003e",
            '&' => "\\u0026",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            '\0'..' ' => "",
            _ => continue,
        };
        out.push_str(&text[plain_from..at]);
        plain_from = at + c.len_utf8();
        if escape.is_empty() {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}
