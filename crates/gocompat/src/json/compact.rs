//! JSON text without insignificant white space, as Go embeds raw messages.

use serde::de::IgnoredAny;

/// Takes white space outside strings away and escapes `<`, `>` and `&` inside
/// them; keys keep their order and numbers their digits. Fails on text that is
/// not one JSON value.
pub fn compact(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice::<IgnoredAny>(text)?;
    let mut out = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {}
            b'<' | b'>' | b'&' => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
        match byte {
            b'"' if !escaped => in_string = !in_string,
            b'\\' if in_string && !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    Ok(out)
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
