//! `Upgrade: h2c`: from HTTP/1.1 to HTTP/2 on the same connection (api.md §1,
//! RFC 7540 §3.2).
//!
//! After the switch the request that asked for it is stream 1. The HTTP/2
//! server cannot be handed a stream that it has not read, so [`Replay`] stands
//! in front of it and puts that request's HEADERS frame behind the client's
//! preface, as if the client had sent it. The settings of the upgrade header
//! go into the client's first SETTINGS frame: one frame, hence the one
//! acknowledgement that clients expect.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::Body;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream.
const FRAME_HEAD: usize = 9;
/// What every HTTP/2 peer takes in one frame without being asked.
const MAX_PAYLOAD: usize = 16_384;
/// Identifier and value.
const SETTING: usize = 6;
/// Settings that the upgrade header may carry; six are defined.
const MAX_SETTINGS: usize = 64;
/// What one read of the client's opening may bring.
const READ_CHUNK: usize = 1024;

const TYPE_HEADERS: u8 = 0x1;
const TYPE_SETTINGS: u8 = 0x4;
const FLAG_ACK: u8 = 0x1;
const FLAG_END_STREAM: u8 = 0x1;
const FLAG_END_HEADERS: u8 = 0x4;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Why an upgraded connection did not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum OpeningError {
    #[error("the client did not send the HTTP/2 preface after its upgrade")]
    NoPreface,
    #[error("the client's first HTTP/2 frame after its upgrade is not SETTINGS")]
    NoSettings,
    #[error("the client's first SETTINGS frame after its upgrade is larger than {MAX_PAYLOAD} bytes")]
    TooLarge,
    #[error("the client did not start HTTP/2 in time after its upgrade")]
    TimedOut,
}

impl From<OpeningError> for io::Error {
    fn from(error: OpeningError) -> Self {
        let kind = match error {
            OpeningError::TimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// What an upgrade takes over from the HTTP/1.1 request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Payload of the SETTINGS frame in `HTTP2-Settings`.
    settings: Vec<u8>,
    /// The request as a HEADERS frame of stream 1.
    headers: Vec<u8>,
}

/// The upgrade that `request` asks for. `None` when it asks for none, or for
/// one that cannot be granted: it is an HTTP/1.1 request like any other then,
/// as a server may ignore an upgrade.
pub(crate) fn opening<B: http_body::Body>(request: &Request<B>) -> Option<Opening> {
    let headers = request.headers();
    let asked = request.version() == Version::HTTP_11
        && request.method() != Method::CONNECT
        && has_token(headers, &UPGRADE, "h2c")
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &CONNECTION, HTTP2_SETTINGS.as_str())
        && request.body().is_end_stream();
    if !asked {
        return None;
    }
    let settings = decode_settings(only(headers, &HTTP2_SETTINGS)?)?;
    let block = header_block(request)?;
    Some(Opening { settings, headers: headers_frame(&block)? })
}

/// The answer after which the connection speaks HTTP/2.
pub(crate) fn switching_protocols() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
    response
}

/// The comma-separated elements of every header called `name`.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The SETTINGS payload in an `HTTP2-Settings` value; `None` if it is not one
/// that an HTTP/2 server accepts.
fn decode_settings(value: &HeaderValue) -> Option<Vec<u8>> {
    if value.len() > MAX_SETTINGS * SETTING * 4 / 3 {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok()?;
    (payload.len().is_multiple_of(SETTING) && payload.chunks_exact(SETTING).all(is_valid_setting))
        .then_some(payload)
}

/// RFC 7540 §6.5.2; unknown settings are ignored by whoever reads them.
fn is_valid_setting(setting: &[u8]) -> bool {
    let &[id_high, id_low, a, b, c, d] = setting else { return false };
    let value = u32::from_be_bytes([a, b, c, d]);
    match u16::from_be_bytes([id_high, id_low]) {
        // ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, ENABLE_CONNECT_PROTOCOL
        0x2 | 0x8 => value <= 1,
        0x4 => value < 1 << 31,
        0x5 => (1 << 14..1 << 24).contains(&value),
        _ => true,
    }
}

/// The request's head in HPACK. `None` if it does not translate.
fn header_block<B>(request: &Request<B>) -> Option<Vec<u8>> {
    let (uri, headers) = (request.uri(), request.headers());
    let host = match headers.contains_key(HOST) {
        true => only(headers, &HOST)?.to_str().ok()?,
        false => "",
    };
    let authority = uri.authority().map_or(host, Authority::as_str);
    if !authority.is_empty() {
        // A malformed one would end as a stream error without an answer.
        authority.parse::<Authority>().ok()?;
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str());

    let mut block = Vec::with_capacity(256);
    put_literal(&mut block, b":method", request.method().as_str().as_bytes());
    put_literal(&mut block, b":scheme", b"http");
    if !authority.is_empty() {
        put_literal(&mut block, b":authority", authority.as_bytes());
    }
    put_literal(&mut block, b":path", path.as_bytes());
    for (name, value) in headers.iter().filter(|(name, value)| is_end_to_end(headers, name, value)) {
        put_literal(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    Some(block)
}

/// False for what concerns only the HTTP/1.1 connection: HTTP/2 forbids it.
fn is_end_to_end(headers: &HeaderMap, name: &HeaderName, value: &HeaderValue) -> bool {
    let hop = [CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || (*name == TE && value != "trailers");
    !hop && !has_token(headers, &CONNECTION, name.as_str())
}

/// A literal header field without indexing (RFC 7541 §6.2.2): it leaves the
/// decoder's table as the client's own encoder knows it.
fn put_literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    put_string(block, name);
    put_string(block, value);
}

/// A string that is not Huffman-coded (RFC 7541 §5.2).
fn put_string(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 0x7f;
    if text.len() < PREFIX {
        block.push(text.len() as u8);
    } else {
        block.push(PREFIX as u8);
        let mut rest = text.len() - PREFIX;
        while rest >= 0x80 {
            block.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

/// `payload` is at most [`MAX_PAYLOAD`] long.
fn frame_head(payload: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEAD] {
    let [_, a, b, c] = (payload as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [a, b, c, kind, flags, s0, s1, s2, s3]
}

/// A whole request without a body on stream 1; `None` if it needs more than
/// one frame.
fn headers_frame(block: &[u8]) -> Option<Vec<u8>> {
    if block.len() > MAX_PAYLOAD {
        return None;
    }
    let mut frame = Vec::with_capacity(FRAME_HEAD + block.len());
    frame.extend_from_slice(&frame_head(block.len(), TYPE_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS, 1));
    frame.extend_from_slice(block);
    Some(frame)
}

/// What the HTTP/2 server is to read in place of `received`, the first bytes
/// of the connection; `None` while the client's preface and SETTINGS frame are
/// not complete.
fn splice(received: &[u8], opening: &Opening) -> Result<Option<Bytes>, OpeningError> {
    let known = received.len().min(PREFACE.len());
    if received[..known] != PREFACE[..known] {
        return Err(OpeningError::NoPreface);
    }
    let Some((head, rest)) = received[known..].split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let &[a, b, c, kind, flags, s0, s1, s2, s3] = head;
    if kind != TYPE_SETTINGS || flags & FLAG_ACK != 0 {
        return Err(OpeningError::NoSettings);
    }
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let merged = opening.settings.len() + length;
    if merged > MAX_PAYLOAD {
        return Err(OpeningError::TooLarge);
    }
    if rest.len() < length {
        return Ok(None);
    }
    let (payload, rest) = rest.split_at(length);
    let mut out = Vec::with_capacity(received.len() + opening.settings.len() + opening.headers.len());
    out.extend_from_slice(PREFACE);
    out.extend_from_slice(&frame_head(merged, kind, flags, u32::from_be_bytes([s0, s1, s2, s3])));
    // The later of two values counts, and the frame is later than the header.
    out.extend_from_slice(&opening.settings);
    out.extend_from_slice(payload);
    out.extend_from_slice(&opening.headers);
    out.extend_from_slice(rest);
    Ok(Some(out.into()))
}

/// The client's opening as far as it has come.
struct Pending {
    opening: Opening,
    received: Vec<u8>,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

/// An upgraded connection whose first request has been put back as stream 1.
pub(crate) struct Replay<I> {
    io: I,
    pending: Option<Pending>,
    /// Read from or put into `io`, not yet taken by the server.
    ready: Bytes,
}

impl<I: Read + Unpin> Replay<I> {
    /// `patience`: how long the client may take to start HTTP/2.
    pub(crate) fn new(io: I, opening: Opening, patience: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(patience));
        Self { io, pending: Some(Pending { opening, received: Vec::new(), deadline }), ready: Bytes::new() }
    }

    /// Reads the client's opening to its end. False if the connection ended.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while let Some(pending) = &mut self.pending {
            let mut chunk = [0; READ_CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.io).poll_read(cx, buffer.unfilled())? {
                Poll::Ready(()) if buffer.filled().is_empty() => return Poll::Ready(Ok(false)),
                Poll::Ready(()) => pending.received.extend_from_slice(buffer.filled()),
                Poll::Pending => {
                    ready!(pending.deadline.as_mut().poll(cx));
                    return Poll::Ready(Err(OpeningError::TimedOut.into()));
                }
            }
            if let Some(spliced) = splice(&pending.received, &pending.opening)? {
                self.ready = spliced;
                self.pending = None;
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl<I: Read + Unpin> Read for Replay<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !ready!(self.poll_opening(cx))? {
            return Poll::Ready(Ok(()));
        }
        if self.ready.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let taken = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..taken]);
        self.ready.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Replay<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }
}

#[cfg(test)]
mod tests;
