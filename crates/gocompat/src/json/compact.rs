//! JSON text without insignificant white space, as Go embeds raw messages.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Takes white space outside strings away and escapes `<`, `>` and `&` inside
/// them; keys keep their order and numbers their digits. Fails on text that is
/// not one JSON value.
pub fn compact(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice::<IgnoredAny>(text)?;
    let mut out = Vec::with_capacity(text.len());
    append(text, &mut out);
    Ok(out)
}

/// [`compact`], appended to `out`, of a text that is known to be JSON.
pub fn write_compact(value: &RawValue, out: &mut Vec<u8>) {
    append(value.get().as_bytes(), out);
}

fn append(text: &[u8], out: &mut Vec<u8>) {
    let (mut at, mut copied, mut in_string) = (0, 0, false);
    while let Some(&byte) = text.get(at) {
        let instead: &[u8] = match byte {
            b'"' => {
                in_string = !in_string;
                at += 1;
                continue;
            }
            b'\\' => {
                at += 2;
                continue;
            }
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => b"",
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(instead);
        at += 1;
        copied = at;
    }
    out.extend_from_slice(&text[copied..]);
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn only_insignificant_space_goes() {
        let text = compact(br#" { "b" : [ 1.0 , "a \" b" ] , "a":"<" } "#).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"b":[1.0,"a \" b"],"a":"\u003c"}"#);
        assert!(compact(b"not json").is_err());
        assert!(compact(b"1 2").is_err());
    }
}
