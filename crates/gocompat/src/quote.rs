//! Quoted strings and lists as Go's formatting verbs print them.

use std::fmt::Write;

/// Go `strconv.Quote` and the `%q` verb.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let short = match c {
        '"' | '\\' => c,
        ' '..='~' => return out.push(c),
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        _ if is_print(c) => return out.push(c),
        _ => return push_code(out, u32::from(c)),
    };
    out.extend(['\\', short]);
}

fn push_code(out: &mut String, code: u32) {
    let written = match code {
        0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
        0x80..0x10000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    written.expect("writing to a String cannot fail");
}

/// Letters, marks, numbers, punctuation and symbols. The standard library knows
/// the same classes but shows them only through its debug escapes, where a
/// combining mark is kept as it is unless it comes first.
fn is_print(c: char) -> bool {
    if c.is_control() {
        return false;
    }
    let probe = String::from_iter(['a', c]);
    !probe.escape_debug().any(|c| c == '\\')
}

/// A list of strings as the `%v` verb prints it: `[a b]`.
pub fn fmt_list(items: &[impl AsRef<str>]) -> String {
    let mut out = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(item.as_ref());
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let table = [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
            ("\0\u{7f}\u{1b}", r#""\x00\x7f\x1b""#),
            ("\u{a0}\u{e9}\u{200b}\u{2028}", "\"\\u00a0\u{e9}\\u200b\\u2028\""),
            ("\u{1F600}\u{fffd}\u{feff}\u{ad}", "\"\u{1F600}\u{fffd}\\ufeff\\u00ad\""),
            ("\u{378}\u{e000}\u{10ffff}", r#""\u0378\ue000\U0010ffff""#),
            ("\u{301}e\u{301}", "\"\u{301}e\u{301}\""),
            ("it's", "\"it's\""),
        ];
        for (text, quoted) in table {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn lists() {
        assert_eq!(fmt_list(&[] as &[&str]), "[]");
        assert_eq!(fmt_list(&["a"]), "[a]");
        assert_eq!(fmt_list(&["a".to_owned(), "b c".to_owned()]), "[a b c]");
    }
}
