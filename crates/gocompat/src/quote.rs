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

/// Undoes [`quote`], and reads Go's raw (backquoted) and character literals
/// (Go `strconv.Unquote`). `None` when `text` is not exactly one literal.
pub fn unquote(text: &str) -> Option<String> {
    let mark = text.chars().next().filter(|c| "\"'`".contains(*c))?;
    let inner = text[1..].strip_suffix(mark)?;
    if mark == '`' {
        return (!inner.contains('`')).then(|| inner.replace('\r', ""));
    }
    if inner.contains('\n') {
        return None;
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut count = 0;
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => push_unescaped(&mut out, &mut rest, mark)?,
            c if c == mark => return None,
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        count += 1;
    }
    if mark == '\'' && count != 1 {
        return None;
    }
    Some(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn push_unescaped(out: &mut Vec<u8>, rest: &mut std::str::Chars<'_>, mark: char) -> Option<()> {
    let digits = |rest: &mut std::str::Chars<'_>, count: usize, first: u32, radix: u32| {
        (0..count).try_fold(first, |n, _| Some(n * radix + rest.next()?.to_digit(radix)?))
    };
    let byte = match rest.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == mark => c as u8,
        'x' => u8::try_from(digits(rest, 2, 0, 16)?).ok()?,
        c @ '0'..='7' => u8::try_from(digits(rest, 2, c.to_digit(8)?, 8)?).ok()?,
        c @ ('u' | 'U') => {
            let code = digits(rest, if c == 'u' { 4 } else { 8 }, 0, 16)?;
            out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => return None,
    };
    out.push(byte);
    Some(())
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
    use proptest::prelude::*;

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
    fn literals_are_unquoted() {
        let table = [
            (r#""""#, Some("")),
            (r#""a\"\\\n\x41\101\u00e9\U0001F600""#, Some("a\"\\\nAA\u{e9}\u{1F600}")),
            ("`a\\n\rb`", Some("a\\nb")),
            ("'x'", Some("x")),
            ("'xy'", None),
            ("plain", None),
            ("\"", None),
            ("", None),
            (r#""a"b""#, None),
            ("\"a\nb\"", None),
            (r#""\/""#, None),
            (r#""\ud800""#, None),
            (r#""\U99999999""#, None),
            (r#""\'""#, None),
            (r#""\400""#, None),
            (r#""a\""#, None),
        ];
        for (text, expected) in table {
            assert_eq!(unquote(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_unquoted(text in any::<String>()) {
            prop_assert_eq!(unquote(&quote(&text)), Some(text));
        }
    }

    #[test]
    fn lists() {
        assert_eq!(fmt_list(&[] as &[&str]), "[]");
        assert_eq!(fmt_list(&["a"]), "[a]");
        assert_eq!(fmt_list(&["a".to_owned(), "b c".to_owned()]), "[a b c]");
    }
}
