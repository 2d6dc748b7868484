//! How Go prints values whose type nobody chose: the verb `%v`.

use serde_json::Value;

/// A decoded JSON value as text: strings without quotes, `map[k:v]` with
/// sorted keys, `[a b]`, `<nil>`; every number is a 64-bit float.
pub fn of_json(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&of_float(n.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push_str("map[");
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| key.as_str());
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(out, item);
            }
            out.push(']');
        }
    }
}

/// Shortest digits that read back as the same number; with an exponent of two
/// digits at the least when it is below -4 or above 5.
pub fn of_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or(0);
    if (-4..LARGE).contains(&power) {
        return format!("{number}");
    }
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.unsigned_abs())
}

/// First power of ten that is written with an exponent.
const LARGE: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_go_prints_them() {
        for (json, text) in [
            (r#""a \"b\"""#, "a \"b\""),
            ("null", "<nil>"),
            ("true", "true"),
            ("[1, \"a\", [null], {}]", "[1 a [<nil>] map[]]"),
            (r#"{"b": 1.5, "a": {"x": [true]}}"#, "map[a:map[x:[true]] b:1.5]"),
        ] {
            assert_eq!(of_json(&serde_json::from_str(json).unwrap()), text, "{json}");
        }
    }

    #[test]
    fn numbers_are_floats() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100.25, "100.25"),
            (123456.0, "123456"),
            (1e6, "1e+06"),
            (-1234567.5, "-1.2345675e+06"),
            (123456789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
        ] {
            assert_eq!(of_float(number), text);
        }
    }
}
