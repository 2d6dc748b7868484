//! The inverse of [`crate::quote`].

/// Text of a Go string literal in double quotes, back quotes or, for a single
/// character, single quotes (Go `strconv.Unquote`). `None` when `literal` is
/// not one. The result need not be UTF-8: `\xff` is a byte.
pub fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    let [quote @ (b'"' | b'`' | b'\''), inner @ .., last] = literal else { return None };
    if quote != last {
        return None;
    }
    if *quote == b'`' {
        let raw = inner.iter().copied().filter(|b| *b != b'\r').collect();
        return (!inner.contains(&b'`')).then_some(raw);
    }
    let mut rest = inner;
    let mut out = Vec::with_capacity(inner.len());
    let mut characters = 0;
    while !rest.is_empty() {
        rest = take_character(rest, *quote, &mut out)?;
        characters += 1;
    }
    (*quote == b'"' || characters == 1).then_some(out)
}

/// Appends the first character of `text` and returns what follows it.
fn take_character<'a>(text: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (first, rest) = text.split_first()?;
    match *first {
        b'\n' => None,
        b if b == quote => None,
        b'\\' => take_escape(rest, quote, out),
        b if b < 0x80 => {
            out.push(b);
            Some(rest)
        }
        _ => {
            let size = (1..=text.len().min(4)).find(|n| std::str::from_utf8(&text[..*n]).is_ok());
            match size {
                Some(size) => out.extend_from_slice(&text[..size]),
                None => push(out, char::REPLACEMENT_CHARACTER),
            }
            Some(&text[size.unwrap_or(1)..])
        }
    }
}

fn take_escape<'a>(text: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (kind, rest) = text.split_first()?;
    let simple = match *kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        b if b == quote => b,
        b'x' => return take_number(rest, 2, 16, out, true),
        b'u' => return take_number(rest, 4, 16, out, false),
        b'U' => return take_number(rest, 8, 16, out, false),
        b'0'..=b'7' => return take_number(text, 3, 8, out, true),
        _ => return None,
    };
    out.push(simple);
    Some(rest)
}

fn take_number<'a>(
    text: &'a [u8],
    digits: usize,
    radix: u32,
    out: &mut Vec<u8>,
    byte: bool,
) -> Option<&'a [u8]> {
    let (number, rest) = text.split_at_checked(digits)?;
    let mut value = 0u32;
    for digit in number {
        value = value.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?)?;
    }
    if byte {
        out.push(u8::try_from(value).ok()?);
    } else {
        push(out, char::from_u32(value)?);
    }
    Some(rest)
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn literals() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            (r#""""#, Some(b"")),
            (r#""abc""#, Some(b"abc")),
            (r#""a\"b\\\n\t""#, Some(b"a\"b\\\n\t")),
            (r#""\x41\101\u00e9\U0001F600""#, Some("AA\u{e9}\u{1F600}".as_bytes())),
            (r#""\xff""#, Some(b"\xff")),
            ("`a\\n\r`", Some(b"a\\n")),
            ("'x'", Some(b"x")),
            ("'xy'", None),
            ("''", None),
            ("\"", None),
            ("", None),
            ("abc", None),
            (r#""a"b""#, None),
            (r#""\'""#, None),
            (r#""\400""#, None),
            (r#""\ud800""#, None),
            ("\"a\nb\"", None),
            (r#""abc\""#, None),
        ];
        for (literal, expected) in cases {
            assert_eq!(unquote(literal.as_bytes()).as_deref(), *expected, "{literal}");
        }
    }
}
