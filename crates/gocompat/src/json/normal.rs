//! [`normalize`](super::normalize) for the hot path: straight from text to
//! text, with no tree between them.

use super::{JsonError, decode_first, to_go_json};

/// Deeper texts, which are rare, take the way over a tree.
const MAX_DEPTH: usize = 64;
/// Decimals of so many digits are exactly what a float of them prints as.
const EXACT_DIGITS: usize = 15;

/// Rewrites JSON values as a Go program does that passes them through an
/// `any`: keys sorted, numbers as floats, no white space. Keeps its memory
/// from one value to the next.
#[derive(Debug, Default)]
pub struct Normalizer {
    members: Vec<Member>,
    unsorted: Vec<u8>,
}

/// Where the output holds a member of an object: `"key":value`.
#[derive(Clone, Copy, Debug)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Member {
    fn key<'a>(&self, out: &'a [u8]) -> &'a [u8] {
        &out[self.start + 1..self.key_end - 1]
    }
}

impl Normalizer {
    /// Appends the first value of `input` to `out`, byte for byte as
    /// [`normalize`](super::normalize) writes it; returns how many bytes of
    /// `input` were read. `out` stays as it was when that fails.
    pub fn append(&mut self, input: &str, out: &mut Vec<u8>) -> Result<usize, JsonError> {
        let start = out.len();
        self.members.clear();
        let Self { members, unsorted } = self;
        let mut pass = Pass { input, at: 0, out, members, unsorted };
        if pass.value(0).is_some() {
            return Ok(pass.at);
        }
        out.truncate(start);
        let (value, read) = decode_first(input.as_bytes())?;
        out.extend_from_slice(&to_go_json(&value));
        Ok(read)
    }
}

/// `None` anywhere means: not for this way, be it wrong or only unusual.
struct Pass<'a> {
    input: &'a str,
    at: usize,
    out: &'a mut Vec<u8>,
    members: &'a mut Vec<Member>,
    unsorted: &'a mut Vec<u8>,
}

impl Pass<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn next_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.input.as_bytes()[self.at..end]);
        self.at = end;
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.next_token()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => None,
        }
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        let end = self.at + text.len();
        (self.input.as_bytes().get(self.at..end)? == text.as_bytes()).then(|| self.copy_to(end))
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.out.push(b'[');
        if self.next_token()? != b']' {
            loop {
                self.value(depth + 1)?;
                match self.next_token()? {
                    b',' => self.out.push(b','),
                    b']' => break,
                    _ => return None,
                }
                self.at += 1;
            }
        }
        self.at += 1;
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.out.push(b'{');
        let first = self.members.len();
        let mut sorted = true;
        if self.next_token()? != b'}' {
            loop {
                let member = self.member(depth)?;
                if let Some(before) = self.members[first..].last() {
                    sorted &= before.key(self.out) < member.key(self.out);
                }
                self.members.push(member);
                match self.next_token()? {
                    b',' => self.out.push(b','),
                    b'}' => break,
                    _ => return None,
                }
                self.at += 1;
            }
        }
        if !sorted {
            self.sort(first);
        }
        self.members.truncate(first);
        self.at += 1;
        self.out.push(b'}');
        Some(())
    }

    fn member(&mut self, depth: usize) -> Option<Member> {
        if self.next_token()? != b'"' {
            return None;
        }
        let start = self.out.len();
        // Escaped keys do not sort as the keys do.
        if !self.string()? {
            return None;
        }
        let key_end = self.out.len();
        if self.next_token()? != b':' {
            return None;
        }
        self.at += 1;
        self.out.push(b':');
        self.value(depth + 1)?;
        Some(Member { start, key_end, end: self.out.len() })
    }

    /// Brings the members from `first` on into the order of their keys; of
    /// equal ones the last stays.
    fn sort(&mut self, first: usize) {
        let members = &mut self.members[first..];
        let Some(base) = members.first().map(|m| m.start) else { return };
        members.sort_by(|a, b| a.key(self.out).cmp(b.key(self.out)));
        self.unsorted.clear();
        self.unsorted.extend_from_slice(&self.out[base..]);
        self.out.truncate(base);
        for (i, member) in members.iter().enumerate() {
            let text = |m: &Member| m.start - base..m.end - base;
            let key = |m: &Member| m.start - base..m.key_end - base;
            let next = members.get(i + 1);
            if next.is_some_and(|next| self.unsorted[key(next)] == self.unsorted[key(member)]) {
                continue;
            }
            if self.out.len() > base {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&self.unsorted[text(member)]);
        }
    }

    /// Whether the text could be taken as it is.
    fn string(&mut self) -> Option<bool> {
        let bytes = self.input.as_bytes();
        let mut end = self.at + 1;
        loop {
            match *bytes.get(end)? {
                b'"' => break,
                b'\\' | b'<' | b'>' | b'&' | 0..0x20 => return self.scalar().map(|()| false),
                // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
                0xe2 if bytes[end..].starts_with(&[0xe2, 0x80]) => return self.scalar().map(|()| false),
                _ => end += 1,
            }
        }
        self.copy_to(end + 1);
        Some(true)
    }

    fn number(&mut self) -> Option<()> {
        match self.exact_number() {
            Some(end) => {
                self.copy_to(end);
                Some(())
            }
            None => self.scalar(),
        }
    }

    /// The end of a number that prints as it is written.
    fn exact_number(&self) -> Option<usize> {
        let bytes = self.input.as_bytes();
        let digits_to = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count() + from;
        let start = self.at + usize::from(bytes[self.at] == b'-');
        let point = digits_to(start);
        let whole = &bytes[start..point];
        let zero = match whole {
            [] => return None,
            [b'0'] => true,
            [b'0', ..] => return None,
            _ => false,
        };
        let end = match bytes.get(point) {
            Some(b'.') => {
                let end = digits_to(point + 1);
                let fraction = &bytes[point + 1..end];
                // Below a millionth comes an exponent.
                let small = zero && fraction.iter().take(6).all(|b| *b == b'0');
                if matches!(fraction, [] | [.., b'0']) || small {
                    return None;
                }
                end
            }
            _ if zero && start > self.at => return None,
            _ => point,
        };
        let exact = end - start <= EXACT_DIGITS && !matches!(bytes.get(end), Some(b'e' | b'E' | b'.'));
        exact.then_some(end)
    }

    /// A string or number whose text changes.
    fn scalar(&mut self) -> Option<()> {
        let (value, read) = decode_first(&self.input.as_bytes()[self.at..]).ok()?;
        self.out.extend_from_slice(&to_go_json(&value));
        self.at += read;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{decode_first, normalize};
    use super::Normalizer;

    /// Both ways must agree on text, length and error.
    fn check(normalizer: &mut Normalizer, input: &str) {
        let mut out = b"before ".to_vec();
        let read = normalizer.append(input, &mut out);
        let text = String::from_utf8(out).unwrap();
        match (read, normalize(input.as_bytes())) {
            (Ok(read), Ok(wanted)) => {
                assert_eq!(text, format!("before {}", String::from_utf8(wanted).unwrap()), "{input}");
                assert_eq!(read, decode_first(input.as_bytes()).unwrap().1, "{input}");
            }
            (Err(error), Err(wanted)) => assert_eq!((error, text.as_str()), (wanted, "before "), "{input}"),
            (found, wanted) => panic!("{input}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn it_writes_what_the_tree_writes() {
        let mut normalizer = Normalizer::default();
        for input in [
            "",
            " ",
            "null",
            "true x",
            "fals",
            "nul",
            "\"a b\"",
            "\"a",
            "\"\u{1}\"",
            "\"\\u0041\\n<\u{2028}\u{20ac}\"",
            "\"\\ud800\"",
            "{}",
            "[ ]",
            "[1 , 2]",
            "[1,]",
            "[1",
            "[1 2]",
            "{\"a\":1,\"b\":{\"c\":[{}]}}",
            "{\"b\":1, \"a\" :2}",
            "{\"b\":{\"d\":1,\"c\":[{\"z\":1,\"y\":2}]},\"a\":2,\"b\":3,\"a\":4}",
            "{\"a\":1,\"a\":2}",
            "{\"a b\":1,\"a\":2,\"a!\":3,\"\":4}",
            "{\"<\":1,\"\\u0041\":2,\"0\":3}",
            "{\"\u{ffff}\":1,\"\u{10000}\":2}",
            "{a:1}",
            "{\"a\"1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1,}",
            "{\"a\":",
            "{\"a\":1} {",
            "[1e999]",
            "{\"x\":[{\"b\":1,\"a\":1e999}]}",
        ] {
            check(&mut normalizer, input);
        }
        for depth in [63, 64, 65, 999, 1001] {
            check(&mut normalizer, &format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
            check(&mut normalizer, &format!("{}1{}", "{\"b\":0,\"a\":".repeat(depth), "}".repeat(depth)));
        }
    }

    #[test]
    fn numbers_print_as_floats() {
        let mut normalizer = Normalizer::default();
        let parts = ["0", "00", "5", "10", "123456789012345", "9007199254740993", "12345678901234567890123"];
        let fractions =
            ["", ".", ".0", ".5", ".50", ".125", ".000001", ".0000001", ".0000012", ".1234567890123456"];
        for sign in ["", "-", "+"] {
            for whole in parts {
                for fraction in fractions {
                    for exponent in ["", "e", "e5", "E-7", "e+21", "e400", ".1"] {
                        let number = format!("{sign}{whole}{fraction}{exponent}");
                        check(&mut normalizer, &number);
                        check(&mut normalizer, &format!("[{number}]"));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_never_differs_from_the_tree(
            tokens in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"a\":", "\"b\":", "\"\"", "\"\\", "\"", " ",
                    "\n", "1", "0", "-", ".5", "e9", "true", "null", "<", "\u{2028}", "\\u0041",
                ]),
                0..24,
            )
        ) {
            check(&mut Normalizer::default(), &tokens.concat());
        }

        #[test]
        fn objects_come_out_sorted(fields in prop::collection::vec(("[a-c !\u{e9}]{0,3}", any::<f64>()), 0..6)) {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\" : {{\"z\":{v:?}, \"y\":[]}}")).collect();
            check(&mut Normalizer::default(), &format!("{{{}}}", fields.join(" , ")));
        }
    }
}
