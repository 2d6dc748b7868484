use serde_json::{Map, Number, Value};

use super::to_go_json;
use crate::quote::quote;

/// Nesting beyond which input is refused, so that no input can exhaust a stack.
const MAX_DEPTH: usize = 1000;

/// Why bytes are not JSON; displays as Go's `encoding/json` does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing but white space, read as a stream.
    #[error("EOF")]
    Empty,
    /// The input ends inside a value, read as a stream.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The input ends before or inside the value, read as a whole.
    #[error("unexpected end of JSON input")]
    UnexpectedEnd,
    #[error("invalid character {} {context}", quote_byte(*byte))]
    InvalidCharacter { byte: u8, context: &'static str },
    /// A number that a 64-bit float cannot hold.
    #[error("json: cannot unmarshal number {0} into Go value of type float64")]
    NumberRange(String),
}

/// Reads as Go's `json.Decoder` into an untyped value: the first value only,
/// numbers as floats. Also returns how many bytes were read.
pub fn decode_first(input: &[u8]) -> Result<(Value, usize), JsonError> {
    let mut parser = Parser { input, at: 0, depth: 0, end: End::Stream };
    parser.skip_space();
    if parser.peek().is_none() {
        return Err(JsonError::Empty);
    }
    let value = parser.value()?;
    Ok((value, parser.at))
}

/// Reads as Go's `json.Unmarshal` into an untyped value: nothing but white
/// space may follow, numbers are floats.
pub fn decode_whole(input: &[u8]) -> Result<Value, JsonError> {
    let mut parser = Parser { input, at: 0, depth: 0, end: End::Whole };
    let value = parser.value()?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(byte) => Err(JsonError::InvalidCharacter { byte, context: "after top-level value" }),
    }
}

/// The first value of `input`, decoded untyped and encoded again: what a Go
/// program does that passes JSON through an `any`.
pub fn normalize(input: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode_first(input).map(|(value, _)| to_go_json(&value))
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Stream,
    Whole,
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    depth: usize,
    end: End,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// What is wrong with the byte here, or with the end of the input.
    fn unexpected(&self, context: &'static str) -> JsonError {
        match self.peek() {
            Some(byte) => JsonError::InvalidCharacter { byte, context },
            None if self.end == End::Stream => JsonError::UnexpectedEof,
            None => JsonError::UnexpectedEnd,
        }
    }

    /// Like [`Self::unexpected`] inside a number or a literal, where a whole
    /// input is treated as if a space followed it.
    fn unexpected_in_token(&self, context: &'static str) -> JsonError {
        match (self.peek(), self.end) {
            (None, End::Whole) => JsonError::InvalidCharacter { byte: b' ', context },
            _ => self.unexpected(context),
        }
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(&TRUE, Value::Bool(true)),
            Some(b'f') => self.literal(&FALSE, Value::Bool(false)),
            Some(b'n') => self.literal(&NULL, Value::Null),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, JsonError>,
    ) -> Result<Value, JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.unexpected("exceeded max depth"));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut fields = Map::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            let value = self.value()?;
            fields.insert(key, value);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
        self.at += 1;
        Ok(Value::Object(fields))
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("after array element")),
            }
        }
        self.at += 1;
        Ok(Value::Array(items))
    }

    fn literal(&mut self, rest: &[(u8, &'static str)], value: Value) -> Result<Value, JsonError> {
        self.at += 1;
        for (byte, context) in rest {
            if self.peek() != Some(*byte) {
                return Err(self.unexpected_in_token(context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = String::from_utf8_lossy(&self.input[start..self.at]);
        let float = text.parse::<f64>().ok();
        match float.and_then(Number::from_f64) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(JsonError::NumberRange(text.into_owned())),
        }
    }

    /// One digit or more.
    fn digits(&mut self, context: &'static str) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected_in_token(context)) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while matches!(self.peek(), Some(byte) if byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            push_utf8(&mut out, &self.input[start..self.at]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut out)?,
                _ => return Err(self.unexpected("in string literal")),
            }
        }
        self.at += 1;
        Ok(out)
    }

    fn escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(out);
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// Past `\u`. A surrogate without its partner becomes U+FFFD.
    fn unicode_escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        let unit = self.code_unit()?;
        if (0xD800..0xDC00).contains(&unit) && self.input[self.at..].starts_with(b"\\u") {
            let after_first = self.at;
            self.at += 2;
            let second = self.code_unit()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            self.at = after_first;
        }
        out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        Ok(())
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(unit)
    }
}

const TRUE: [(u8, &str); 3] = [
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];
const FALSE: [(u8, &str); 4] = [
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];
const NULL: [(u8, &str); 3] = [
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

/// Every byte that is not part of valid UTF-8 becomes one U+FFFD.
fn push_utf8(out: &mut String, mut bytes: &[u8]) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => return out.push_str(text),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                out.push(char::REPLACEMENT_CHARACTER);
                bytes = &rest[1..];
            }
        }
    }
}

/// A byte, read as a Latin-1 character, in single quotes.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => format!("'{}'", quote((byte as char).encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}
