//! The messages between sidecars (api.md §7.10), written from and read into
//! header maps directly: the generated types would make a hash map and two
//! strings of every header, twice a call.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dapr_transport::grpc::PREFIX;
use dapr_wire::common::v1::http_extension::Verb;
use http::{HeaderMap, HeaderValue};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_varint, encoded_len_varint, skip_field,
};

use super::headers::Spelling;

/// `map<string, ListStringValue>` of headers.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    pub headers: &'a HeaderMap,
    pub spelling: Spelling,
    /// Further values; where the name exists already they follow it.
    pub added: &'a [(&'static str, &'a str)],
}

/// `internals.v1.InternalInvokeRequest`, to be sent.
pub struct RequestHead<'a> {
    pub metadata: Metadata<'a>,
    pub method: &'a str,
    pub type_url: &'a str,
    pub content_type: Option<&'a HeaderValue>,
    /// Number of `HTTPExtension.Verb`.
    pub verb: i32,
    pub query: &'a str,
}

/// `internals.v1.InternalInvokeResponse`, to be sent.
pub struct ResponseHead<'a> {
    pub code: i32,
    pub message: &'a str,
    /// Encoded `google.rpc.Status`, for its details.
    pub details: Bytes,
    pub headers: Metadata<'a>,
    pub trailers: Metadata<'a>,
    pub type_url: &'a str,
    pub content_type: Option<&'a HeaderValue>,
    /// Data inside of the message: unary answers only.
    pub data: &'a [u8],
}

/// Room for what stands before a head and depends on its length: gRPC prefix,
/// tag, length.
const GAP: usize = PREFIX + 1 + 5;
/// What a head without many headers takes.
const USUAL_HEAD: usize = 1024;

/// One framed `InternalInvokeRequestStream` with a head and, unless `None`,
/// the first payload.
pub fn request_frame(head: &RequestHead<'_>, payload: Option<&[u8]>) -> Bytes {
    stream_frame(payload, |out| head.write(out))
}

/// One framed `InternalInvokeResponseStream`.
pub fn response_frame(head: &ResponseHead<'_>, payload: Option<&[u8]>) -> Bytes {
    stream_frame(payload, |out| head.write(out))
}

/// One framed `InternalInvokeResponse`.
pub fn unary_response_frame(head: &ResponseHead<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + USUAL_HEAD + head.data.len());
    out.put_bytes(0, PREFIX);
    head.write(&mut out);
    let size = u32::try_from(out.len() - PREFIX).unwrap_or(u32::MAX);
    out[1..PREFIX].copy_from_slice(&size.to_be_bytes());
    out.freeze()
}

/// A framed message without a head: a further payload of either stream.
pub fn payload_frame(data: &[u8], seq: u64) -> Bytes {
    let size = payload_len(data, seq);
    let mut out = BytesMut::with_capacity(PREFIX + size + 6);
    out.put_bytes(0, PREFIX);
    put_payload(&mut out, data, seq);
    let size = u32::try_from(out.len() - PREFIX).unwrap_or(u32::MAX);
    out[1..PREFIX].copy_from_slice(&size.to_be_bytes());
    out.freeze()
}

fn stream_frame(payload: Option<&[u8]>, write_head: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(GAP + USUAL_HEAD + payload.map_or(0, <[u8]>::len));
    out.put_bytes(0, GAP);
    write_head(&mut out);
    let head = out.len() - GAP;
    if let Some(data) = payload {
        put_payload(&mut out, data, 0);
    }
    // The head's own length comes last and goes in front of it.
    let start = GAP - PREFIX - 1 - encoded_len_varint(head as u64);
    let size = u32::try_from(out.len() - start - PREFIX).unwrap_or(u32::MAX);
    out[start..start + 1].copy_from_slice(&[0]);
    out[start + 1..start + PREFIX].copy_from_slice(&size.to_be_bytes());
    let mut rest = &mut out[start + PREFIX..GAP];
    put_key(&mut rest, 1, WireType::LengthDelimited);
    encode_varint(head as u64, &mut rest);
    out.advance(start);
    out.freeze()
}

impl RequestHead<'_> {
    fn write(&self, out: &mut BytesMut) {
        // ver: V1
        put_number(out, 1, 1);
        self.metadata.write(out, 2);
        let content_type = self.content_type.map(text).unwrap_or_default();
        let data = field_len(self.type_url.len());
        let extension = number_len(self.verb) + field_len(self.query.len());
        put_nested(
            out,
            3,
            field_len(self.method.len())
                + nested_len(data)
                + field_len(content_type.len())
                + nested_len(extension),
        );
        put_field(out, 1, self.method.as_bytes());
        put_nested(out, 2, data);
        put_field(out, 1, self.type_url.as_bytes());
        put_field(out, 3, content_type.as_bytes());
        put_nested(out, 4, extension);
        put_number(out, 1, self.verb);
        put_field(out, 2, self.query.as_bytes());
    }
}

impl ResponseHead<'_> {
    fn write(&self, out: &mut BytesMut) {
        let details: Vec<Bytes> = fields_of(&self.details, 3).collect();
        let details_len: usize = details.iter().map(|d| nested_len(d.len())).sum();
        put_nested(out, 1, number_len(self.code) + field_len(self.message.len()) + details_len);
        put_number(out, 1, self.code);
        put_field(out, 2, self.message.as_bytes());
        for detail in &details {
            put_nested(out, 3, detail.len());
            out.put_slice(detail);
        }
        self.headers.write(out, 2);
        self.trailers.write(out, 3);
        let content_type = self.content_type.map(text).unwrap_or_default();
        let data = field_len(self.type_url.len()) + field_len(self.data.len());
        put_nested(out, 4, nested_len(data) + field_len(content_type.len()));
        put_nested(out, 1, data);
        put_field(out, 1, self.type_url.as_bytes());
        put_field(out, 2, self.data);
        put_field(out, 2, content_type.as_bytes());
    }
}

impl Metadata<'_> {
    fn write(&self, out: &mut BytesMut, tag: u32) {
        for name in self.headers.keys() {
            let more = |(key, _): &&(&str, &str)| self.names(key) && name == key;
            let values = || {
                let added = self.added.iter().filter(more).map(|(_, value)| Cow::Borrowed(*value));
                self.headers.get_all(name).iter().map(text).chain(added)
            };
            put_entry(out, tag, name.as_str(), self.spelling == Spelling::Canonical, values);
        }
        for (key, value) in self.added {
            if !(self.names(key) && self.headers.contains_key(*key)) {
                put_entry(out, tag, key, false, || std::iter::once(Cow::Borrowed(*value)));
            }
        }
    }

    /// Whether a header of that name would be spelled just so.
    fn names(&self, key: &str) -> bool {
        let lower = !key.bytes().any(|b| b.is_ascii_uppercase());
        lower == (self.spelling == Spelling::Lower)
    }
}

/// Header bytes as text; bytes outside UTF-8 are replaced, as a Go string in
/// a protobuf message could not hold them either.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// `values` is walked twice: to measure and to write.
fn put_entry<'a, V: Iterator<Item = Cow<'a, str>>>(
    out: &mut BytesMut,
    tag: u32,
    name: &str,
    canonical: bool,
    values: impl Fn() -> V,
) {
    let list: usize = values().map(|v| nested_len(v.len())).sum();
    put_nested(out, tag, field_len(name.len()) + nested_len(list));
    let start = out.len() + field_len(name.len()) - name.len();
    put_field(out, 1, name.as_bytes());
    if canonical {
        dapr_gocompat::header::make_canonical(&mut out[start..]);
    }
    put_nested(out, 2, list);
    for value in values() {
        put_nested(out, 1, value.len());
        out.put_slice(value.as_bytes());
    }
}

fn put_payload(out: &mut BytesMut, data: &[u8], seq: u64) {
    put_nested(out, 2, payload_len(data, seq));
    put_field(out, 1, data);
    if seq != 0 {
        put_key(out, 2, WireType::Varint);
        encode_varint(seq, out);
    }
}

fn payload_len(data: &[u8], seq: u64) -> usize {
    field_len(data.len()) + if seq == 0 { 0 } else { 1 + encoded_len_varint(seq) }
}

/// Fields here have tags below 16: one byte.
fn put_key(out: &mut impl BufMut, tag: u32, wire: WireType) {
    prost::encoding::encode_key(tag, wire, out);
}

/// An `int32` or enum; absent when zero.
fn put_number(out: &mut BytesMut, tag: u32, value: i32) {
    if value != 0 {
        put_key(out, tag, WireType::Varint);
        encode_varint(i64::from(value) as u64, out);
    }
}

fn number_len(value: i32) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(i64::from(value) as u64) }
}

/// A string or bytes field; absent when empty.
fn put_field(out: &mut BytesMut, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_nested(out, tag, bytes.len());
        out.put_slice(bytes);
    }
}

fn field_len(len: usize) -> usize {
    if len == 0 { 0 } else { nested_len(len) }
}

/// Tag and length of a field that is there even when empty.
fn put_nested(out: &mut BytesMut, tag: u32, len: usize) {
    put_key(out, tag, WireType::LengthDelimited);
    encode_varint(len as u64, out);
}

fn nested_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// A message of either stream, as it was read.
#[derive(Default)]
pub struct Received {
    /// The encoded head.
    pub head: Option<Bytes>,
    pub payload: Option<Payload>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Payload {
    pub data: Bytes,
    pub seq: u64,
}

impl Received {
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(head)) => out.head = Some(head),
                (2, Value::Bytes(payload)) => out.payload = Some(Payload::decode(payload)?),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Payload {
    fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(data)) => out.data = data,
                (2, Value::Number(seq)) => out.seq = seq,
                _ => {}
            }
        }
        Ok(out)
    }
}

/// Headers that most messages have at most.
const USUAL_HEADERS: usize = 12;

/// Name and encoded `ListStringValue` of each header.
#[derive(Default)]
pub struct ReceivedMetadata(Vec<(Bytes, Bytes)>);

impl ReceivedMetadata {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first value under exactly this name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let (_, list) = self.0.iter().find(|(key, _)| key == name)?;
        fields_of(list, 1).next()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, impl Iterator<Item = Bytes>)> {
        self.0.iter().map(|(name, list)| (name, fields_of(list, 1)))
    }

    fn add(&mut self, entry: Bytes) -> Result<(), DecodeError> {
        let (mut name, mut list) = (Bytes::new(), Bytes::new());
        for field in Fields(entry) {
            match field? {
                (1, Value::Bytes(key)) => name = utf8(key)?,
                (2, Value::Bytes(values)) => list = values,
                _ => {}
            }
        }
        // A list that is cut is found here and not when it is read.
        for field in Fields(list.clone()) {
            field?;
        }
        if self.0.is_empty() {
            self.0.reserve(USUAL_HEADERS);
        }
        self.0.push((name, list));
        Ok(())
    }
}

/// `internals.v1.InternalInvokeRequest`, as it was read.
#[derive(Default)]
pub struct ReceivedRequest {
    pub metadata: ReceivedMetadata,
    pub message: Option<ReceivedMessage>,
}

/// `common.v1.InvokeRequest`.
#[derive(Default)]
pub struct ReceivedMessage {
    pub method: String,
    pub type_url: String,
    /// Data inside of the message: unary calls only; `None` without the field.
    pub data: Option<Bytes>,
    pub content_type: Bytes,
    pub verb: i32,
    pub query: String,
}

impl ReceivedRequest {
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for field in Fields(message) {
            match field? {
                (2, Value::Bytes(entry)) => out.metadata.add(entry)?,
                (3, Value::Bytes(message)) => out.message = Some(ReceivedMessage::decode(message)?),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl ReceivedMessage {
    pub fn verb(&self) -> Verb {
        Verb::try_from(self.verb).unwrap_or(Verb::None)
    }

    fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(method)) => out.method = string(&method)?,
                (2, Value::Bytes(any)) => {
                    let (type_url, data) = any_parts(any)?;
                    (out.type_url, out.data) = (type_url, Some(data));
                }
                (3, Value::Bytes(content_type)) => out.content_type = content_type,
                (4, Value::Bytes(extension)) => {
                    for field in Fields(extension) {
                        match field? {
                            (1, Value::Number(verb)) => out.verb = verb as i32,
                            (2, Value::Bytes(query)) => out.query = string(&query)?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(out)
    }
}

/// `internals.v1.InternalInvokeResponse`, as it was read.
#[derive(Default)]
pub struct ReceivedResponse {
    pub status: Option<ReceivedStatus>,
    pub headers: ReceivedMetadata,
    pub trailers: ReceivedMetadata,
    pub type_url: String,
    pub content_type: Bytes,
}

#[derive(Default)]
pub struct ReceivedStatus {
    pub code: i32,
    pub message: String,
    /// The same as an encoded `google.rpc.Status` when it has details.
    pub details: Bytes,
}

impl ReceivedResponse {
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(status)) => out.status = Some(ReceivedStatus::decode(status)?),
                (2, Value::Bytes(entry)) => out.headers.add(entry)?,
                (3, Value::Bytes(entry)) => out.trailers.add(entry)?,
                (4, Value::Bytes(message)) => {
                    for field in Fields(message) {
                        match field? {
                            (1, Value::Bytes(any)) => out.type_url = any_parts(any)?.0,
                            (2, Value::Bytes(content_type)) => out.content_type = content_type,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(out)
    }
}

impl ReceivedStatus {
    fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        let mut detailed = false;
        for field in Fields(message.clone()) {
            match field? {
                (1, Value::Number(code)) => out.code = code as i32,
                (2, Value::Bytes(message)) => out.message = string(&message)?,
                (3, Value::Bytes(_)) => detailed = true,
                _ => {}
            }
        }
        // The two types have the same layout.
        if detailed {
            out.details = message;
        }
        Ok(out)
    }
}

/// Type and value of a `google.protobuf.Any`.
fn any_parts(any: Bytes) -> Result<(String, Bytes), DecodeError> {
    let (mut type_url, mut value) = (String::new(), Bytes::new());
    for field in Fields(any) {
        match field? {
            (1, Value::Bytes(url)) => type_url = string(&url)?,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((type_url, value))
}

fn string(bytes: &Bytes) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| not_utf8())
}

fn utf8(bytes: Bytes) -> Result<Bytes, DecodeError> {
    if std::str::from_utf8(&bytes).is_ok() { Ok(bytes) } else { Err(not_utf8()) }
}

fn not_utf8() -> DecodeError {
    #[allow(deprecated, reason = "prost offers no other way to make one")]
    DecodeError::new("invalid string value: data is not UTF-8 encoded")
}

/// The length-delimited fields `tag` of a message that was walked before.
fn fields_of(message: &Bytes, tag: u32) -> impl Iterator<Item = Bytes> + use<> {
    Fields(message.clone()).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == tag => Some(bytes),
        _ => None,
    })
}

/// The fields of a message, in order; what is nested stays encoded.
struct Fields(Bytes);

enum Value {
    Number(u64),
    Bytes(Bytes),
    /// Of a type that these messages do not use.
    Other,
}

impl Fields {
    fn read(&mut self) -> Result<(u32, Value), DecodeError> {
        let (tag, wire) = decode_key(&mut self.0)?;
        let value = match wire {
            WireType::Varint => Value::Number(decode_varint(&mut self.0)?),
            WireType::LengthDelimited => {
                let len = decode_varint(&mut self.0)?;
                if len > self.0.len() as u64 {
                    #[allow(deprecated, reason = "prost offers no other way to make one")]
                    return Err(DecodeError::new("buffer underflow"));
                }
                Value::Bytes(self.0.split_to(len as usize))
            }
            wire => {
                skip_field(wire, tag, &mut self.0, DecodeContext::default())?;
                Value::Other
            }
        };
        Ok((tag, value))
    }
}

impl Iterator for Fields {
    type Item = Result<(u32, Value), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = Bytes::new();
        }
        Some(field)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
